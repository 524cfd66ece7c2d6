from pathlib import Path

from sedma.places import default_data_dir


def test_the_data_directory_is_the_one_named_or_in_the_folder_for_state() -> None:
    assert default_data_dir({"SEDMA_DATA_DIR": "/a", "XDG_STATE_HOME": "/b"}) == Path("/a")
    assert default_data_dir({"XDG_STATE_HOME": "/b"}) == Path("/b/sedma")
    assert default_data_dir({}) == Path.home() / ".local/state/sedma"
    assert (
        default_data_dir({"XDG_STATE_HOME": "not/absolute"}) == Path.home() / ".local/state/sedma"
    )
