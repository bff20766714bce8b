"""``wandbsweep report``: a sweep as one HTML file that needs no network."""
