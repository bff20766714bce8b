"""torchvision's data sets: reading, downloads, damaged files; an HTTP server on this machine stands for theirs."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torchvision.datasets import CIFAR10, MNIST

from classifier.data import TorchvisionImages, downloads
from classifier.data.torchvision_sets import load_dataset
from tests.classifier.small_images import make_cifar_files, make_mnist_archives, make_mnist_files, write_files

IMAGES = "train-images-idx3-ubyte"


class Server:
    """Serves files, also from a given byte on. ``cuts``: how many answers of a file end after half of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: Counter[str] = Counter()
        self.requests: list[tuple[str, str | None]] = []
        self.stalls, self.stall = False, threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name, span = self.path.lstrip("/"), self.headers["Range"]
                outer.requests.append((name, span))
                if name not in outer.files:
                    return self.send_error(404)
                start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
                content = outer.files[name][start:]
                if not content:
                    return self.send_error(416)
                self.send_response(206 if span else 200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if outer.cuts[name]:
                    outer.cuts[name] -= 1
                    content = content[: len(content) // 2]
                self.wfile.write(content)
                self.wfile.flush()
                if outer.stalls:
                    outer.stall.wait(60)
                return None

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"

    def names(self) -> list[str]:
        return sorted(name for name, _ in self.requests)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.stall.set()
    made.http.shutdown()
    thread.join()
    made.http.server_close()


@pytest.fixture(autouse=True)
def forget() -> None:
    load_dataset.cache_clear()


@pytest.fixture
def mnist(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    server.files = make_mnist_archives(monkeypatch, [f"{server.url}absent/", server.url])
    return server


def load_mnist(root: Path, *, download: bool = True) -> TorchvisionImages:
    load_dataset.cache_clear()
    data = TorchvisionImages(dataset="mnist", root=str(root), download=download, batch_size=8, val_size=10)
    data.setup()
    return data


def list_files(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize(
    ("dataset", "shape", "classes", "sizes"),
    [
        ("mnist", (1, 28, 28), 10, (30, 10, 20)),
        ("fashion_mnist", (1, 28, 28), 10, (30, 10, 20)),
        ("cifar10", (3, 32, 32), 10, (190, 10, 20)),
        ("cifar100", (3, 32, 32), 100, (30, 10, 20)),
    ],
)
def test_a_data_set_is_read(
    small_data: Path, dataset: str, shape: tuple[int, ...], classes: int, sizes: tuple[int, ...]
) -> None:
    data = TorchvisionImages(dataset=dataset, root=str(small_data), download=False, batch_size=8, val_size=10)
    assert (data.input_shape, data.classes, len(data.class_names)) == (shape, classes, classes)
    data.setup()
    assert tuple(len(data.splits[name].classes) for name in ("train", "val", "test")) == sizes
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        images, labels = next(iter(loader))
        assert images.shape[1:] == shape
        assert images.dtype == torch.float32
        brightness = images.mean((1, 2, 3))  # the files' classes differ in it
        assert torch.equal(labels[brightness.argsort()], labels.sort().values)


def test_the_test_split_is_the_data_sets_own_and_splits_follow_the_split_seed(small_data: Path) -> None:
    def split(**options: int) -> dict[str, torch.Tensor]:
        data = TorchvisionImages(dataset="cifar10", root=str(small_data), batch_size=8, val_size=10, **options)
        data.setup()
        return {name: samples.images for name, samples in data.splits.items()}

    first, same, other = split(seed=0), split(seed=1), split(split_seed=1)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert torch.equal(first["test"], other["test"])
    assert not torch.equal(first["val"], other["val"])
    limited = split(limit_train=20)
    assert torch.equal(limited["val"], first["val"])
    assert len(limited["train"]) == 20


def test_options_that_cannot_be_are_refused(small_data: Path) -> None:
    def load(**options: object) -> None:
        made = {"dataset": "cifar10", "root": str(small_data), "batch_size": 8, "val_size": 10, **options}
        data = TorchvisionImages(**made)
        data.setup()
        data.train_dataloader()

    for options, message in [
        (
            {"dataset": "imagenet"},
            "Unknown `data.dataset` 'imagenet'. Valid choices are mnist, fashion_mnist,",
        ),
        ({"limit_train": 191}, "`data.limit_train` is 191, but must be at most 190"),
        (
            {"batch_size": 200, "drop_last": True},
            "is 200, but with `data.drop_last` must be at most 190",
        ),
        ({"mean": [0.5], "std": [0.5]}, "`data.mean` has 1 values, but the images have 3 channels"),
        ({"val_size": 200}, "`data.val_size` is 200, but there are only 200 images"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            load(**options)


@pytest.mark.parametrize(("batch_size", "last"), [(7, 7), (21, 21), (50, 40), (1, 1)])
def test_no_last_batch_has_a_single_image(small_data: Path, batch_size: int, last: int) -> None:
    data = TorchvisionImages(dataset="cifar10", root=str(small_data), batch_size=batch_size, val_size=10)
    data.setup()
    assert len(list(data.train_dataloader())[-1][0]) == last


def test_without_a_validation_split_there_are_no_validation_batches(small_data: Path) -> None:
    data = TorchvisionImages(dataset="mnist", root=str(small_data), batch_size=8, val_size=0)
    data.setup()
    assert data.val_dataloader() == []
    assert len(data.splits["train"].classes) == 40


def test_ten_processes_start_on_an_empty_directory_and_one_downloads(mnist: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: load_dataset.__wrapped__("mnist", str(tmp_path), download=True), range(10)))
    served = [name for name in mnist.names() if not name.startswith("absent/")]
    assert served == sorted(mnist.files)
    assert all(torch.equal(sets.train.images, found[0].train.images) for sets in found)
    assert list_files(tmp_path) == {*mnist.files, *make_mnist_files()}


def test_a_killed_download_is_continued(mnist: Server, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    name, content = f"{IMAGES}.gz", mnist.files[f"{IMAGES}.gz"]
    mnist.cuts[name], mnist.stalls = 1, True
    program = (
        "import importlib.util, sys\n"
        "from pathlib import Path\n"
        f"spec = importlib.util.spec_from_file_location('downloads', {downloads.__file__!r})\n"
        "module = sys.modules['downloads'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "module._CHUNK = 16\n"
        f"archive = module.Archive(Path({str(raw / name)!r}), 'x', [{mnist.url + name!r}])\n"
        "module.fetch_archives('mnist', [archive], lambda: False, download=True)\n"
    )
    part = raw / f"{name}.part"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    mnist.stalls = False
    mnist.stall.set()
    size = part.stat().st_size
    assert size
    assert content.startswith(part.read_bytes())
    load_mnist(tmp_path)
    assert (name, f"bytes={size}-") in mnist.requests
    assert (raw / name).read_bytes() == content
    assert list_files(tmp_path) == {*mnist.files, *make_mnist_files()}


def test_a_connection_that_ends_early_is_continued(mnist: Server, tmp_path: Path) -> None:
    mnist.cuts.update(dict.fromkeys(mnist.files, 2))
    load_mnist(tmp_path)
    spans = [span for name, span in mnist.requests if name == f"{IMAGES}.gz"]
    assert spans[0] is None
    assert len([span for span in spans if span]) == 2


@pytest.mark.parametrize("part", [b"", b"something else", b"x" * 10_000_000])
def test_a_part_of_something_else_is_thrown_away(mnist: Server, tmp_path: Path, part: bytes) -> None:
    write_files(tmp_path, {f"MNIST/raw/{IMAGES}.gz.part": part})
    load_mnist(tmp_path)
    assert list_files(tmp_path) == {*mnist.files, *make_mnist_files()}


def test_a_wrong_checksum_is_refused_and_leaves_nothing(mnist: Server, tmp_path: Path) -> None:
    mnist.files[f"{IMAGES}.gz"] = b"not what it should be"
    with pytest.raises(FileNotFoundError, match=r"has the MD5 checksum [0-9a-f]{32} instead of") as error:
        load_mnist(tmp_path)
    for name, md5 in MNIST.resources:
        assert re.search(rf"  {name}  from \S+  \(MD5 {md5}\)", str(error.value))
    assert list_files(tmp_path) == set()


def test_without_a_network_one_message_says_which_files_to_put_where(
    mnist: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    raw = tmp_path / "MNIST/raw"
    with pytest.raises(FileNotFoundError, match=re.escape(f"mnist is not in {raw}")) as error:
        load_mnist(tmp_path)
    assert str(error.value).count("MD5") == 4
    with pytest.raises(FileNotFoundError, match=r"downloads are switched off: data\.download=false"):
        load_mnist(tmp_path, download=False)
    write_files(raw, {**mnist.files, f"{IMAGES}.gz": mnist.files[f"{IMAGES}.gz"][:100]})
    with pytest.raises(FileNotFoundError, match=rf"{IMAGES}\.gz .* another, or damaged"):
        load_mnist(tmp_path)
    write_files(raw, mnist.files)
    assert len(load_mnist(tmp_path).splits["train"].classes) == 30
    assert mnist.requests == []


@pytest.mark.parametrize("spoil", [lambda b: b"", lambda b: b[:-1], lambda b: b[:3], lambda b: b + b"x"])
def test_a_damaged_file_is_extracted_again(mnist: Server, tmp_path: Path, spoil: object) -> None:
    whole = load_mnist(tmp_path).splits["train"].images
    mnist.requests.clear()
    path = tmp_path / "MNIST/raw" / IMAGES
    path.write_bytes(spoil(path.read_bytes()))  # type: ignore[operator]
    assert torch.equal(load_mnist(tmp_path).splits["train"].images, whole)
    assert mnist.requests == []


def test_extracted_files_are_enough_and_are_not_written_to(tmp_path: Path) -> None:
    raw = write_files(tmp_path / "MNIST/raw", make_mnist_files())
    raw.chmod(0o555)
    load_mnist(tmp_path, download=False)
    assert list_files(tmp_path) == set(make_mnist_files())


def test_cifar_is_downloaded_and_a_damaged_file_mended(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = make_cifar_files(monkeypatch)
    source = write_files(tmp_path / "source", files)
    subprocess.run(["tar", "-czf", source / CIFAR10.filename, "-C", source, CIFAR10.base_folder], check=True)
    server.files = {CIFAR10.filename: (source / CIFAR10.filename).read_bytes()}
    monkeypatch.setattr(CIFAR10, "url", server.url + CIFAR10.filename)
    monkeypatch.setattr(CIFAR10, "tgz_md5", downloads.compute_md5(source / CIFAR10.filename))
    root = tmp_path / "root"
    for _ in range(2):
        load_dataset.cache_clear()
        assert len(load_dataset("cifar10", str(root), download=True).train.classes) == 200
        batch = root / CIFAR10.base_folder / "data_batch_3"
        batch.write_bytes(batch.read_bytes()[:-10])
    assert server.names() == [CIFAR10.filename]
