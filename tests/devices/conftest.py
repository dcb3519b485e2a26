import pytest

from harmony_jax.devices import host_cores


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Puts this process into control groups with files; before that it is in none."""
    monkeypatch.setattr(host_cores, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_cores, "_OWN_GROUPS", tmp_path / "own")

    def write(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write
