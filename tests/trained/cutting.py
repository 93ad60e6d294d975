"""Writing that ends in the midst of what belongs together."""


def cut_short(monkeypatch, module, count):
    """Has a module's next write but so many fail, as a full disk has."""
    written, left = module.write_atomically, iter(range(count))

    def write(path, content):
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        written(path, content)

    monkeypatch.setattr(module, "write_atomically", write)
