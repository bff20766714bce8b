BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL, 
	study_name VARCHAR(512) NOT NULL, 
	PRIMARY KEY (study_id)
);
INSERT INTO "studies" VALUES(1,'gi7u0my4');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MINIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'wandbsweep:origin','{"config": {"method": "random", "metric": {"name": "loss", "goal": "minimize"}, "run_cap": 14, "early_terminate": {"type": "hyperband", "min_iter": 2}, "parameters": {"lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 1.0}, "model": {"values": ["mlp", "convnet"]}, "units": {"distribution": "int_uniform", "min": 4, "max": 64}}}, "directory": "@APP@/sweep"}');
INSERT INTO "study_system_attributes" VALUES(2,1,'wandbsweep:identity','{"method": "random", "metric": "minimize loss", "parameters.lr": "{''distribution'': ''log_uniform_values'', ''min'': 0.0001, ''max'': 1.0}", "parameters.model": "{''distribution'': ''categorical'', ''values'': [''mlp'', ''convnet'']}", "parameters.units": "{''distribution'': ''int_uniform'', ''min'': 4, ''max'': 64}"}');
INSERT INTO "study_system_attributes" VALUES(3,1,'wandbsweep:seed','7');
INSERT INTO "study_system_attributes" VALUES(4,1,'wandbsweep:beat:4d1c78d13ab63991','null');
INSERT INTO "study_system_attributes" VALUES(5,1,'wandbsweep:beat:2292b2a5bfcc0623','null');
INSERT INTO "study_system_attributes" VALUES(6,1,'wandbsweep:beat:602aacc0f59b90ac','null');
INSERT INTO "study_system_attributes" VALUES(7,1,'wandbsweep:beat:e9f4d01ee2859e38','1795890547172641121');
INSERT INTO "study_system_attributes" VALUES(8,1,'wandbsweep:beat:98e8e6236b3600fe','null');
INSERT INTO "study_system_attributes" VALUES(9,1,'wandbsweep:beat:26692791355d9074','1795890561770121324');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,0,1.09495178230646872385e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,1,9.49517823064686544709e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,4,0,1.002587683308282962e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,4,1,2.58768330828299279386e-03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,6,0,1.00131493441914631858e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,6,1,1.31493441914635870483e-03,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,7,0,1.00035738083477254711e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,7,1,3.57380834772621765269e-04,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,8,0,1.02614464308101860368e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(10,8,1,2.61446430810186661308e-02,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(11,9,0,1.00094367322194410796e+00,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(12,9,1,9.43673221944152742536e-04,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(13,10,0,5.0,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(14,11,0,5.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(15,11,1,0.8,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(16,12,0,4.0,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(17,13,0,4.0,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(18,13,1,0.5,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(19,14,0,3.0,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(20,15,0,3.0,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(21,16,0,2.5,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'lr',3.16505941021562181569e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(2,1,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(3,1,'units',51.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(4,2,'lr',1.20382623593410051365e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(5,2,'model',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(6,2,'units',15.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(7,3,'lr',1.20382623593410051365e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(8,3,'model',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(9,3,'units',15.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(10,4,'lr',1.29384165414149639693e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(11,4,'model',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(12,4,'units',60.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(13,5,'lr',7.94573752792788412513e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(14,5,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(15,5,'units',18.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(16,6,'lr',6.57467209573179352417e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(17,6,'model',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(18,6,'units',32.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(19,7,'lr',1.19126944924207250572e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(20,7,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(21,7,'units',35.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(22,8,'lr',8.71488102700622262186e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(23,8,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(24,8,'units',55.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(25,9,'lr',4.71836610972076371268e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(26,9,'model',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(27,9,'units',31.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(28,10,'lr',7.28505344810480154338e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(29,10,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(30,10,'units',7.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(31,11,'lr',7.28505344810480154338e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(32,11,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(33,11,'units',7.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(34,12,'lr',1.24380265082293661738e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(35,12,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(36,12,'units',52.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(37,13,'lr',1.24380265082293661738e-01,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(38,13,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(39,13,'units',52.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(40,14,'lr',3.99414215462718935611e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(41,14,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(42,14,'units',11.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(43,15,'lr',3.99414215462718935611e-02,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(44,15,'model',1.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(45,15,'units',11.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
INSERT INTO "trial_params" VALUES(46,16,'lr',4.31522190451916112102e-04,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.00010000092103827874, "high": 0.999990789702042, "log": true}}');
INSERT INTO "trial_params" VALUES(47,16,'model',0.0,'{"name": "CategoricalDistribution", "attributes": {"choices": ["mlp", "convnet"]}}');
INSERT INTO "trial_params" VALUES(48,16,'units',24.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 4, "high": 64}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'wandbsweep:claim','{"agent": "0", "number": null, "attempt": 1, "cap": 14, "owner": "4d1c78d13ab63991"}');
INSERT INTO "trial_system_attributes" VALUES(2,1,'wandbsweep:params','{"number": 0, "values": {"lr": 0.03165059410215622, "model": "convnet", "units": 51}}');
INSERT INTO "trial_system_attributes" VALUES(3,1,'wandbsweep:outcome','{"state": "finished", "reason": "", "value": 0.09495178230646865, "metrics": {"loss": 0.09495178230646865, "units": 51.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(4,2,'wandbsweep:claim','{"agent": "0", "number": null, "attempt": 1, "cap": 14, "owner": "4d1c78d13ab63991"}');
INSERT INTO "trial_system_attributes" VALUES(5,2,'wandbsweep:params','{"number": 1, "values": {"lr": 0.12038262359341005, "model": "mlp", "units": 15}}');
INSERT INTO "trial_system_attributes" VALUES(6,2,'wandbsweep:outcome','{"state": "queued", "reason": "its process was killed by SIGKILL (out of memory?)", "value": null, "metrics": {}, "hopeless": false, "lost": true}');
INSERT INTO "trial_system_attributes" VALUES(7,3,'wandbsweep:claim','{"agent": "0", "number": 1, "attempt": 2, "cap": 14, "owner": "4d1c78d13ab63991"}');
INSERT INTO "trial_system_attributes" VALUES(8,3,'wandbsweep:params','{"number": 1, "values": {"lr": 0.12038262359341005, "model": "mlp", "units": 15}}');
INSERT INTO "trial_system_attributes" VALUES(9,3,'wandbsweep:outcome','{"state": "crashed", "reason": "its process was killed by SIGKILL (out of memory?); attempt 2 of 2", "value": null, "metrics": {}, "hopeless": false, "lost": true}');
INSERT INTO "trial_system_attributes" VALUES(10,4,'wandbsweep:claim','{"agent": "1", "number": null, "attempt": 1, "cap": 14, "owner": "2292b2a5bfcc0623"}');
INSERT INTO "trial_system_attributes" VALUES(11,4,'wandbsweep:params','{"number": 2, "values": {"lr": 0.0012938416541414964, "model": "mlp", "units": 60}}');
INSERT INTO "trial_system_attributes" VALUES(12,4,'wandbsweep:outcome','{"state": "finished", "reason": "", "value": 0.002587683308282993, "metrics": {"loss": 0.002587683308282993, "units": 60.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(13,5,'wandbsweep:claim','{"agent": "1", "number": null, "attempt": 1, "cap": 14, "owner": "2292b2a5bfcc0623"}');
INSERT INTO "trial_system_attributes" VALUES(14,5,'wandbsweep:params','{"number": 3, "values": {"lr": 0.7945737527927884, "model": "convnet", "units": 18}}');
INSERT INTO "trial_system_attributes" VALUES(15,5,'wandbsweep:outcome','{"state": "failed", "reason": "ValueError: no luck with 0.7945737527927884", "value": null, "metrics": {}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(16,6,'wandbsweep:claim','{"agent": "1", "number": null, "attempt": 1, "cap": 14, "owner": "2292b2a5bfcc0623"}');
INSERT INTO "trial_system_attributes" VALUES(17,6,'wandbsweep:params','{"number": 4, "values": {"lr": 0.0006574672095731794, "model": "mlp", "units": 32}}');
INSERT INTO "trial_system_attributes" VALUES(18,6,'wandbsweep:outcome','{"state": "finished", "reason": "", "value": 0.0013149344191463587, "metrics": {"loss": 0.0013149344191463587, "units": 32.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(19,7,'wandbsweep:claim','{"agent": "2", "number": null, "attempt": 1, "cap": 14, "owner": "602aacc0f59b90ac"}');
INSERT INTO "trial_system_attributes" VALUES(20,7,'wandbsweep:params','{"number": 5, "values": {"lr": 0.00011912694492420725, "model": "convnet", "units": 35}}');
INSERT INTO "trial_system_attributes" VALUES(21,7,'wandbsweep:outcome','{"state": "finished", "reason": "", "value": 0.00035738083477262177, "metrics": {"loss": 0.00035738083477262177, "units": 35.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(22,8,'wandbsweep:claim','{"agent": "2", "number": null, "attempt": 1, "cap": 14, "owner": "602aacc0f59b90ac"}');
INSERT INTO "trial_system_attributes" VALUES(23,8,'wandbsweep:params','{"number": 6, "values": {"lr": 0.008714881027006223, "model": "convnet", "units": 55}}');
INSERT INTO "trial_system_attributes" VALUES(24,8,'wandbsweep:outcome','{"state": "stopped", "reason": "hyperband: 0.026145 at iteration 2 is above the threshold 0.0013149 of band 2", "value": 0.026144643081018666, "metrics": {"loss": 0.026144643081018666, "units": 55.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(25,9,'wandbsweep:claim','{"agent": "2", "number": null, "attempt": 1, "cap": 14, "owner": "602aacc0f59b90ac"}');
INSERT INTO "trial_system_attributes" VALUES(26,9,'wandbsweep:params','{"number": 7, "values": {"lr": 0.00047183661097207637, "model": "mlp", "units": 31}}');
INSERT INTO "trial_system_attributes" VALUES(27,9,'wandbsweep:outcome','{"state": "finished", "reason": "", "value": 0.0009436732219441527, "metrics": {"loss": 0.0009436732219441527, "units": 31.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(28,10,'wandbsweep:claim','{"agent": "loser", "number": null, "attempt": 1, "cap": 14, "owner": "e9f4d01ee2859e38"}');
INSERT INTO "trial_system_attributes" VALUES(29,10,'wandbsweep:params','{"number": 8, "values": {"lr": 0.07285053448104802, "model": "convnet", "units": 7}}');
INSERT INTO "trial_system_attributes" VALUES(30,11,'wandbsweep:claim','{"agent": "driver", "number": 8, "attempt": 2, "cap": 14, "owner": "98e8e6236b3600fe"}');
INSERT INTO "trial_system_attributes" VALUES(31,11,'wandbsweep:params','{"number": 8, "values": {"lr": 0.07285053448104802, "model": "convnet", "units": 7}}');
INSERT INTO "trial_system_attributes" VALUES(32,10,'wandbsweep:outcome','{"state": "queued", "reason": "agent loser was not heard of for 2 s", "value": null, "metrics": {}, "hopeless": false, "lost": true}');
INSERT INTO "trial_system_attributes" VALUES(33,11,'wandbsweep:outcome','{"state": "finished", "reason": "", "value": 0.8, "metrics": {"loss": 0.8}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(34,12,'wandbsweep:claim','{"agent": "driver", "number": null, "attempt": 1, "cap": 14, "owner": "98e8e6236b3600fe"}');
INSERT INTO "trial_system_attributes" VALUES(35,12,'wandbsweep:params','{"number": 9, "values": {"lr": 0.12438026508229366, "model": "convnet", "units": 52}}');
INSERT INTO "trial_system_attributes" VALUES(36,12,'wandbsweep:outcome','{"state": "queued", "reason": "preempted", "value": null, "metrics": {"loss": 4.0, "units": 3.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(37,13,'wandbsweep:claim','{"agent": "driver", "number": 9, "attempt": 2, "cap": 14, "owner": "98e8e6236b3600fe"}');
INSERT INTO "trial_system_attributes" VALUES(38,13,'wandbsweep:params','{"number": 9, "values": {"lr": 0.12438026508229366, "model": "convnet", "units": 52}}');
INSERT INTO "trial_system_attributes" VALUES(39,13,'wandbsweep:outcome','{"state": "finished", "reason": "", "value": 0.5, "metrics": {"loss": 0.5, "units": 4.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(40,14,'wandbsweep:claim','{"agent": "driver", "number": null, "attempt": 1, "cap": 14, "owner": "98e8e6236b3600fe"}');
INSERT INTO "trial_system_attributes" VALUES(41,14,'wandbsweep:params','{"number": 10, "values": {"lr": 0.039941421546271894, "model": "convnet", "units": 11}}');
INSERT INTO "trial_system_attributes" VALUES(42,14,'wandbsweep:outcome','{"state": "queued", "reason": "node drained", "value": null, "metrics": {"loss": 3.0}, "hopeless": false}');
INSERT INTO "trial_system_attributes" VALUES(43,15,'wandbsweep:claim','{"agent": "left", "number": 10, "attempt": 2, "cap": 14, "owner": "26692791355d9074"}');
INSERT INTO "trial_system_attributes" VALUES(44,15,'wandbsweep:params','{"number": 10, "values": {"lr": 0.039941421546271894, "model": "convnet", "units": 11}}');
INSERT INTO "trial_system_attributes" VALUES(45,16,'wandbsweep:claim','{"agent": "left", "number": null, "attempt": 1, "cap": 14, "owner": "26692791355d9074"}');
INSERT INTO "trial_system_attributes" VALUES(46,16,'wandbsweep:params','{"number": 11, "values": {"lr": 0.0004315221904519161, "model": "mlp", "units": 24}}');
INSERT INTO "trial_system_attributes" VALUES(47,15,'wandbsweep:outcome','{"state": "queued", "reason": "node drained", "value": null, "metrics": {"loss": 3.0}, "hopeless": false}');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,9.49517823064686544709e-02,'FINITE');
INSERT INTO "trial_values" VALUES(2,4,0,2.58768330828299279386e-03,'FINITE');
INSERT INTO "trial_values" VALUES(3,6,0,1.31493441914635870483e-03,'FINITE');
INSERT INTO "trial_values" VALUES(4,7,0,3.57380834772621765269e-04,'FINITE');
INSERT INTO "trial_values" VALUES(5,8,0,2.61446430810186661308e-02,'FINITE');
INSERT INTO "trial_values" VALUES(6,9,0,9.43673221944152742536e-04,'FINITE');
INSERT INTO "trial_values" VALUES(7,11,0,0.8,'FINITE');
INSERT INTO "trial_values" VALUES(8,13,0,0.5,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	PRIMARY KEY (trial_id), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-28 18:28:46.624113','2026-11-28 18:28:48.831229');
INSERT INTO "trials" VALUES(2,1,1,'FAIL','2026-11-28 18:28:48.864219','2026-11-28 18:28:50.155545');
INSERT INTO "trials" VALUES(3,2,1,'FAIL','2026-11-28 18:28:50.199665','2026-11-28 18:28:50.787350');
INSERT INTO "trials" VALUES(4,3,1,'COMPLETE','2026-11-28 18:28:51.760860','2026-11-28 18:28:53.710237');
INSERT INTO "trials" VALUES(5,4,1,'FAIL','2026-11-28 18:28:53.757573','2026-11-28 18:28:54.036159');
INSERT INTO "trials" VALUES(6,5,1,'COMPLETE','2026-11-28 18:28:54.039782','2026-11-28 18:28:54.759345');
INSERT INTO "trials" VALUES(7,6,1,'COMPLETE','2026-11-28 18:28:55.828920','2026-11-28 18:28:58.606051');
INSERT INTO "trials" VALUES(8,7,1,'PRUNED','2026-11-28 18:28:58.665884','2026-11-28 18:28:59.711307');
INSERT INTO "trials" VALUES(9,8,1,'COMPLETE','2026-11-28 18:28:59.740145','2026-11-28 18:29:00.764850');
INSERT INTO "trials" VALUES(10,9,1,'FAIL','2026-11-28 18:29:07.325846','2026-11-28 18:29:14.483469');
INSERT INTO "trials" VALUES(11,10,1,'COMPLETE','2026-11-28 18:29:14.225224','2026-11-28 18:29:14.679542');
INSERT INTO "trials" VALUES(12,11,1,'FAIL','2026-11-28 18:29:14.753559','2026-11-28 18:29:14.883379');
INSERT INTO "trials" VALUES(13,12,1,'COMPLETE','2026-11-28 18:29:14.923372','2026-11-28 18:29:15.000943');
INSERT INTO "trials" VALUES(14,13,1,'FAIL','2026-11-28 18:29:15.028480','2026-11-28 18:29:15.143328');
INSERT INTO "trials" VALUES(15,14,1,'FAIL','2026-11-28 18:29:21.770100','2026-11-28 18:29:22.095404');
INSERT INTO "trials" VALUES(16,15,1,'RUNNING','2026-11-28 18:29:21.932820',NULL);
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
COMMIT;
