"""The authors' files, read strictly and safely, and the converted file that replaces them."""

from __future__ import annotations

import dataclasses
import gc
import json
import pickle
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import make_recipe_models as recipe_models
import pytest
import torch
from safetensors.torch import save_file

from dawn_model import convert
from dawn_model.checkpoints import checkpoint as checkpoint_module
from dawn_model.checkpoints import official as official_checkpoint
from dawn_model.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_networks,
    read_checkpoint,
    save_checkpoint,
)
from dawn_model.checkpoints.official import read_motion_estimator, read_official, read_pickle
from dawn_model.checkpoints.official_files import OfficialFiles, find_official
from dawn_model.config import DAWN_NANO, DawnConfig, DenoiserConfig, FlowAutoencoderConfig, PoseBlinkConfig
from dawn_model.model import build_networks

ROOT = Path(__file__).resolve().parents[3]
DENOISER, AUTOENCODER = "DAWN_128.pth", "LFG_128_1000ep.pth"
POSE, BLINK = "pbnet/pose/checkpoint_40000.pth.tar", "pbnet/blink/checkpoint_95000.pth.tar"

TINY = DawnConfig(
    name="tiny",
    image_size=16,
    denoiser=DenoiserConfig(
        base_width=8, multipliers=(1, 2), heads=2, head_dim=4, feature_channels=16, audio_dim=8
    ),
    autoencoder=FlowAutoencoderConfig(width=4, bottleneck_blocks=1),
    motion=(
        PoseBlinkConfig(pose_dim=6, blink_dim=2, audio_dim=8, audio_embed_dim=8, latent_dim=16, z_dim=4),
    ),
)


@pytest.fixture
def copy(downloads, tmp_path) -> Path:
    """The same folder for a test to spoil; what it leaves alone is not copied."""
    folder = tmp_path / "dawn"
    for file in downloads.rglob("*"):
        if file.is_file():
            (folder / file.relative_to(downloads)).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.relative_to(downloads)).symlink_to(file)
    return folder


def replace(path: Path, content: object, **how) -> None:
    path.unlink(missing_ok=True)
    torch.save(content, path, **how)


def load(folder: Path, name: str = DENOISER) -> Checkpoint:
    return read_official(find_official(folder / name, []))


def tiny_checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(TINY, {name: network.state_dict() for name, network in build_networks(TINY).items()})


def tensors_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {
        f"{network}.{key}": tensor
        for network, tensors in checkpoint.tensors.items()
        for key, tensor in tensors.items()
    }


def test_reads_the_authors_files(downloads):
    checkpoint = load(downloads)
    assert checkpoint.config == DawnConfig()
    networks = load_networks(checkpoint)
    assert set(networks) == {"denoiser", "autoencoder", "box_encoder", "motion.0", "motion.1"}
    for network in networks.values():
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())


def denoise_fn(folder: Path) -> dict[str, torch.Tensor]:
    prefix = "denoise_fn."
    return {
        key.removeprefix(prefix): tensor
        for key, tensor in read_pickle(folder / DENOISER)["diffusion"].items()
        if key.startswith(prefix)
    }


def spoil(path: Path, entry: str | None, key: str, how: str) -> None:
    """Remove, add or misshape one tensor."""
    content = read_pickle(path)
    state = content[entry] if entry else content
    if how == "missing":
        del state[key]
    elif how == "extra":
        state[key] = torch.zeros(2)
    else:
        state[key] = torch.zeros(*state[key].shape[:-1], state[key].shape[-1] + 1)
    replace(path, content)


@pytest.mark.parametrize(
    ("file", "entry", "key", "how", "message"),
    [
        (DENOISER, "diffusion", "denoise_fn.mid_block1.time_mlp.1.bias", "missing", "is missing"),
        (DENOISER, "diffusion", "denoise_fn.mid_block3.time_mlp.1.bias", "extra", "does not belong there"),
        (DENOISER, "diffusion", "denoise_fn.left_block.time_mlp.1.bias", "extra", "keys that do not belong to it"),
        (DENOISER, "diffusion", "denoise_fn.time_mlp.1.bias", "misshapen", r"has shape \[257\], expected \[256\]"),
        (
            DENOISER,
            "diffusion",
            "denoise_fn.init_conv.weight",
            "misshapen",
            r"has shape \[64, 275, 1, 7, 8\], read as \[64, 3, 7, 8\], expected \[64, 3, 7, 7\]",
        ),
        (AUTOENCODER, "generator", "bottleneck.r5.conv2.bias", "missing", r"\[256\] is missing"),
        (AUTOENCODER, "generator", "first.norm.running_var", "missing", r"missing, expected \[64\]"),
        (AUTOENCODER, "generator", "third.conv.bias", "extra", "do not belong"),
        (AUTOENCODER, "generator", "up_blocks.0.norm.bias", "misshapen", r"is of shape \[129\], expected \[128\]"),
        (POSE, None, "decoder.finallayer.bias", "missing", "is missing"),
        (POSE, None, "decoder.ztimelinear.weight", "missing", "is missing"),
        (POSE, None, "decoder.lastlayer.bias", "extra", "do not belong"),
        (BLINK, None, "decoder.audioEmbedding.bias", "misshapen", r"has shape \[257\], expected \[256\]"),
    ],
)  # fmt: skip
def test_one_wrong_tensor_is_named_with_its_file(copy, file, entry, key, how, message):
    spoil(copy / file, entry, key, how)
    with pytest.raises(CheckpointError, match=message) as error:
        load(copy)
    named = f"{entry}.{key}" if entry else key
    assert named in str(error.value) or (how == "missing" and "(our name)" in str(error.value))
    assert Path(file).name in str(error.value)


def test_many_wrong_tensors_make_a_short_message(copy):
    content = read_pickle(copy / DENOISER)
    content["diffusion"] = {key: tensor for key, tensor in content["diffusion"].items() if "ups." not in key}
    replace(copy / DENOISER, content)
    with pytest.raises(CheckpointError, match=r"is missing.* and \d{3} more") as error:
        load(copy)
    assert len(str(error.value)) < 1000


def test_whole_numbers_are_no_weights(copy):
    content = read_pickle(copy / DENOISER)
    key = "denoise_fn.time_mlp.1.bias"
    content["diffusion"][key] = content["diffusion"][key].long()
    replace(copy / DENOISER, content)
    with pytest.raises(CheckpointError, match=r"denoise_fn\.time_mlp\.1\.bias holds torch\.int64"):
        load(copy)


@pytest.mark.parametrize(
    ("given", "expected", "message"),
    [
        (AUTOENCODER, DENOISER, "DAWN_128.pth is a flow autoencoder .*, expected a DAWN denoiser"),
        (POSE, DENOISER, "DAWN_128.pth is a pose or blink network .*, expected a DAWN denoiser"),
        (DENOISER, AUTOENCODER, "LFG_128_1000ep.pth is a DAWN denoiser .*, expected a flow autoencoder"),
        (DENOISER, POSE, "checkpoint_40000.pth.tar is a DAWN denoiser .*, expected a pose or blink network"),
        (BLINK, POSE, "transformerreemb6 makes 6 values per frame .* makes 2"),
    ],
)
def test_a_file_of_another_kind(copy, downloads, given, expected, message):
    (copy / expected).unlink()
    (copy / expected).symlink_to(downloads / given)
    with pytest.raises(CheckpointError, match=message):
        load(copy)


def another_model(path: Path) -> None:
    replace(path, {"state_dict": {"unet.weight": torch.zeros(2)}, "epoch": 3})


def list_of_tensors(path: Path) -> None:
    replace(path, [torch.zeros(2)])


def entry_without_tensors(path: Path) -> None:
    replace(path, {"diffusion": {"denoise_fn.init_conv.weight": 1}})


def plain_pickle(path: Path) -> None:
    path.unlink()
    path.write_bytes(pickle.dumps({"diffusion": 1}, protocol=2))


def safetensors_under_another_name(path: Path) -> None:
    path.unlink()
    save_file({"diffusion.denoise_fn.init_conv.bias": torch.zeros(2)}, path)


def text(path: Path) -> None:
    path.unlink()
    path.write_text("<html>404: not found</html>\n" * 100)


def empty(path: Path) -> None:
    path.unlink()
    path.touch()


@pytest.mark.parametrize(
    ("spoiled_by", "message"),
    [
        (another_model, "is none of the DAWN files, .* It holds: state_dict, epoch"),
        (list_of_tensors, "holds a list, expected named tensors"),
        (entry_without_tensors, r"expected tensors, but these are none: diffusion\.denoise_fn\.init_conv"),
        (plain_pickle, "can not be read|is refused"),
        (safetensors_under_another_name, "is refused: .* not a PyTorch file. Download it again"),
        (text, "is refused: .* not a PyTorch file. Download it again"),
        (empty, "can not be read: .* Download it again"),
    ],
)
def test_a_file_that_is_no_checkpoint(copy, spoiled_by, message):
    spoiled_by(copy / DENOISER)
    with pytest.raises(CheckpointError, match=rf"^{DENOISER}.*{message}"):
        load(copy)


@pytest.mark.parametrize("kept", [10, 1_000, 0.5, 0.999_999])
def test_a_truncated_file(copy, downloads, kept):
    whole = (downloads / POSE).read_bytes()
    (copy / POSE).unlink()
    (copy / POSE).write_bytes(whole[: kept if kept >= 1 else int(kept * len(whole))])
    with pytest.raises(CheckpointError, match=r"checkpoint_40000\.pth\.tar .*Download it again"):
        load(copy)


class Malicious:
    """Unpickled by a careless loader, this writes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_does_nothing(copy, tmp_path, zipped):
    target = tmp_path / "executed"
    content = {"diffusion": {"denoise_fn.init_conv.bias": torch.zeros(2)}, "example": Malicious(target)}
    replace(copy / DENOISER, content, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"{DENOISER} is refused: it holds more than tensors"):
        load(copy)
    assert not target.exists()

    torch.load(copy / DENOISER, weights_only=False)
    assert target.exists(), "the file was harmless, so this test shows nothing"


def test_files_of_old_torch_versions(copy, downloads):
    for file in (POSE, BLINK):
        replace(
            copy / file, torch.load(downloads / file, weights_only=True), _use_new_zipfile_serialization=False
        )
    old, new = tensors_of(load(copy)), tensors_of(load(downloads))
    assert old.keys() == new.keys()
    assert all(torch.equal(old[key], new[key]) for key in new if key.startswith("motion"))


def test_what_the_trainers_left_is_tolerated_and_let_go(copy, monkeypatch):
    content = read_pickle(copy / DENOISER)
    moments = {"state": {0: {"exp_avg": torch.zeros(1000)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    replace(copy / DENOISER, {**content, "example": 32000, "epoch": 7, "optimizer_diff": moments})
    left: list[weakref.ref] = []

    def watched(path: Path) -> dict:
        content = read_pickle(path)
        if "optimizer_diff" in content:
            left.append(weakref.ref(content["optimizer_diff"]["state"][0]["exp_avg"]))
        return content

    monkeypatch.setattr(official_checkpoint, "read_pickle", watched)
    checkpoint = load(copy)
    gc.collect()
    assert len(left) == 1 and left[0]() is None
    kept, needed = (
        tensors_of(checkpoint),
        {
            f"{name}.{key}": tensor.shape
            for name, network in load_networks(checkpoint).items()
            for key, tensor in network.state_dict().items()
        },
    )
    assert {key: tensor.shape for key, tensor in kept.items()} == needed


def test_a_joint_pose_and_blink_network(copy):
    shutil.rmtree(copy / "pbnet")
    folder = copy / "pbnet_both"
    folder.mkdir()
    torch.save(recipe_models.official_state("pbnet_both"), folder / "checkpoint_95000.pth.tar")
    (folder / "opt.yaml").write_text("archiname: transformerreemb8\nmax_distance: 128\n")
    with pytest.raises(CheckpointError, match=r"pbnet_both/checkpoint_95000.pth.tar: .*reemb8"):
        load(copy)  # these tensors are a reemb5's: rotary frequencies tell
    (folder / "opt.yaml").write_text("archiname: transformerreemb5\nmax_distance: 128\n")
    checkpoint = load(copy)
    (motion,) = checkpoint.config.motion
    assert (motion.pose_dim, motion.blink_dim, motion.window) == (6, 2, 200)
    assert set(load_networks(checkpoint)) == {"denoiser", "autoencoder", "box_encoder", "motion.0"}


def test_no_options_file(copy):
    (copy / "pbnet" / "blink" / "opt.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"blink/checkpoint_95000.pth.tar: .*opt.yaml is missing"):
        load(copy)


def test_no_flow_autoencoder(copy):
    (copy / AUTOENCODER).unlink()
    with pytest.raises(
        ValueError, match=r"DAWN_128.pth needs its flow autoencoder, LFG_128_….pth, beside it"
    ):
        load(copy)


@pytest.mark.parametrize(
    ("gone", "named"), [("pose", "the pose"), ("blink", "the blink"), ("", "the pose and blink")]
)
def test_no_pose_or_blink_network(copy, gone, named):
    shutil.rmtree(copy / "pbnet" / gone)
    with pytest.raises(
        ValueError, match=rf"DAWN_128.pth needs {named} network: put the download's folder pbnet"
    ):
        load(copy)


def test_a_denoiser_that_is_not_there(copy):
    (copy / DENOISER).unlink()
    with pytest.raises(CheckpointError, match=r"DAWN_128.pth does not exist"):
        load(copy)


def test_128_and_256_are_not_mixed(copy):
    (copy / AUTOENCODER).rename(copy / "LFG_256_400ep.pth")
    with pytest.raises(ValueError, match=r"LFG_128_….pth, .*; LFG_256_400ep.pth is for another resolution"):
        load(copy)
    with pytest.raises(ValueError, match=r"DAWN_128.pth is for 128 px and LFG_256_400ep.pth for 256 px"):
        find_official(copy / DENOISER, [], copy / "LFG_256_400ep.pth")


@pytest.mark.parametrize("name", ["DAWN.pth", "DAWN_512.pth", "DAWN_128_to_256.pth", "DAWN_1280.pth"])
def test_the_resolution_is_read_from_the_name(copy, name):
    (copy / DENOISER).rename(copy / name)
    with pytest.raises(ValueError, match=rf"{name}: the name must say the resolution, as in DAWN_128.pth"):
        load(copy, name)


def test_256_is_found_beside_128(copy):
    (copy / "DAWN_256.pth").symlink_to((copy / DENOISER).resolve())
    (copy / "LFG_256_400ep.pth").symlink_to((copy / AUTOENCODER).resolve())
    assert find_official(copy / "DAWN_256.pth", []) == OfficialFiles(
        copy / "DAWN_256.pth", copy / "LFG_256_400ep.pth", (copy / POSE, copy / BLINK), 256
    )
    assert load(copy, "DAWN_256.pth").config == dataclasses.replace(
        DawnConfig(), name="dawn-256", image_size=256
    )


def test_other_model_folders_are_searched_too(copy, tmp_path):
    """extra_model_paths.yaml may spread the files over several disks."""
    other = tmp_path / "other disk"
    other.mkdir()
    shutil.move(copy / "pbnet", other / "pbnet")
    shutil.move(copy / AUTOENCODER, other / AUTOENCODER)
    files = find_official(copy / DENOISER, [copy, other])
    assert files.autoencoder == other / AUTOENCODER
    assert files.motion == (other / POSE, other / BLINK)


# --- the converted file ---


@pytest.fixture(scope="module")
def converted(downloads, tmp_path_factory) -> Iterator[Path]:
    output = tmp_path_factory.mktemp("converted") / "dawn-128.safetensors"
    command = [sys.executable, "-m", "dawn_model.convert", str(downloads / DENOISER), str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "written" in done.stderr
    yield output
    output.unlink()


def outputs(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """What every network makes of the same small input."""
    config, networks = checkpoint.config, load_networks(checkpoint)
    draw = torch.Generator().manual_seed(5)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    denoiser = networks["denoiser"]
    channels = config.denoiser.feature_channels + config.denoiser.box_channels
    clip = denoiser.prepare(randn(1, channels, 8, 8), randn(1, 2, config.denoiser.condition_dim))
    autoencoder = networks["autoencoder"]
    source = autoencoder.encode(randn(1, 3, 32, 32).sigmoid())
    results = {
        "denoiser": denoiser(randn(1, 3, 2, 8, 8), torch.tensor([500]), clip),
        "autoencoder": autoencoder.decode(source, randn(2, 8, 8, 2), randn(2, 1, 8, 8).sigmoid()),
        "box_encoder": networks["box_encoder"](torch.ones(1, 1, 32, 32)),
    }
    for index, motion in enumerate(config.motion):
        audio, first = randn(1, 3, motion.audio_dim), randn(1, motion.output_dim)
        results[f"motion.{index}"] = networks[f"motion.{index}"](audio, first, randn(1, 3, motion.z_dim))
    assert results.keys() == networks.keys()
    return results


def test_the_converted_file_gives_bit_identical_outputs(downloads, converted):
    before, after = load(downloads), read_checkpoint(converted)
    assert after.config == before.config
    expected, found = outputs(before), outputs(after)
    for name in expected:
        assert expected[name].std() > 0
        assert torch.equal(found[name], expected[name]), name


def test_the_converted_file_holds_nothing_else(converted, downloads):
    assert tensors_of(read_checkpoint(converted)).keys() == tensors_of(load(downloads)).keys()
    assert [file.name for file in converted.parent.iterdir()] == [converted.name]


def run_converter(*arguments: object) -> int:
    return convert.main([str(argument) for argument in arguments])


def test_the_converter_never_overwrites(downloads, tmp_path, capsys):
    target = tmp_path / "mine.safetensors"
    target.write_text("precious")
    with pytest.raises(SystemExit):
        run_converter(downloads / DENOISER, target)
    assert "exists; choose another name" in capsys.readouterr().err
    assert target.read_text() == "precious"


def test_the_converter_says_what_is_wrong_with_its_arguments(downloads, tmp_path, capsys, caplog):
    with pytest.raises(SystemExit):
        run_converter(downloads / DENOISER, tmp_path / "model.ckpt")
    assert "must end in .safetensors" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_converter(downloads / DENOISER, tmp_path / "nowhere" / "model.safetensors")
    assert "nowhere is not a folder" in capsys.readouterr().err
    assert run_converter(tmp_path / "DAWN_128.pth", tmp_path / "model.safetensors") == 1
    assert "needs its flow autoencoder" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def disk_full(_tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", disk_full)
    with pytest.raises(ValueError, match="No space"):
        save_checkpoint(tiny_checkpoint(), tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_configuration_of_any_size_survives(tmp_path):
    save_checkpoint(tiny_checkpoint(), tmp_path / "tiny.safetensors", {"from": "a test"})
    found = read_checkpoint(tmp_path / "tiny.safetensors")
    assert found.config == TINY
    expected = tensors_of(tiny_checkpoint())
    assert {key: tensor.tolist() for key, tensor in tensors_of(found).items()} == {
        key: tensor.tolist() for key, tensor in expected.items()
    }


def without_a_tensor(tensors: dict, metadata: dict) -> None:
    del tensors["denoiser.time.linear1.bias"]


def with_another_tensor(tensors: dict, metadata: dict) -> None:
    tensors["denoiser.extra"] = torch.zeros(2)


def without_a_network(tensors: dict, metadata: dict) -> None:
    for key in [key for key in tensors if key.startswith("box_encoder.")]:
        del tensors[key]


def with_another_network(tensors: dict, metadata: dict) -> None:
    tensors["motion.1.output.bias"] = torch.zeros(2)


def with_another_shape(tensors: dict, metadata: dict) -> None:
    tensors["motion.0.output.bias"] = torch.zeros(9)


def of_another_version(tensors: dict, metadata: dict) -> None:
    metadata["format"] = "dawn-comfyui-99"


def without_metadata(tensors: dict, metadata: dict) -> None:
    metadata.clear()


def without_configuration(tensors: dict, metadata: dict) -> None:
    del metadata["config"]


def with_a_later_option(tensors: dict, metadata: dict) -> None:
    metadata["config"] = metadata["config"].replace('"base_width"', '"flux_capacitor": 1, "base_width"')


def with_impossible_sizes(tensors: dict, metadata: dict) -> None:
    metadata["config"] = metadata["config"].replace('"base_width": 8', '"base_width": "wide"')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_tensor, r"does not fit the denoiser network: denoiser\.time\.linear1\.bias \[\d+\] is missing"),
        (with_another_tensor, r"does not fit the denoiser network: denoiser\.extra does not belong there"),
        (without_a_network, r"does not fit the box_encoder network: box_encoder\.conv1\.weight .* is missing"),
        (with_another_network, r"holds networks that do not belong to it: motion\.1"),
        (with_another_shape, r"motion\.0\.output\.bias has shape \[9\], expected \[8\]"),
        (of_another_version, r"is not a DAWN model file of this plugin .*dawn_model\.convert"),
        (without_metadata, r"is not a DAWN model file of this plugin .*dawn_model\.convert"),
        (without_configuration, r"not a DAWN configuration.* newer version of the plugin\?"),
        (with_a_later_option, r"not a DAWN configuration: .*flux_capacitor.* newer version of the plugin\?"),
        (with_impossible_sizes, r"makes no network"),
    ],
)  # fmt: skip
def test_a_converted_file_that_was_changed(tmp_path, change, message):
    checkpoint = tiny_checkpoint()
    tensors = tensors_of(checkpoint)
    metadata = {"format": checkpoint_module.FORMAT, "config": checkpoint.config.to_json()}
    change(tensors, metadata)
    save_file(tensors, tmp_path / "tiny.safetensors", metadata=metadata or None)
    with pytest.raises(CheckpointError, match=rf"^tiny\.safetensors.*{message}"):
        read_checkpoint(tmp_path / "tiny.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 0.5, 0.999])
def test_a_truncated_converted_file(tmp_path, kept):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: kept if kept >= 1 else int(kept * len(whole))])
    with pytest.raises(CheckpointError, match=r"tiny\.safetensors can not be read: .* cut short"):
        read_checkpoint(path)


def test_a_converted_file_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone\.safetensors does not exist"):
        read_checkpoint(tmp_path / "gone.safetensors")


def test_motion_estimator_of_the_same_file(downloads, copy):
    estimator = read_motion_estimator(downloads / AUTOENCODER)
    motion = estimator.estimate(torch.rand(1, 3, 128, 128), torch.rand(2, 3, 128, 128))
    assert motion.flow.shape == (2, 32, 32, 2)
    content = dict(torch.load(downloads / AUTOENCODER, weights_only=True, mmap=True))
    del content["bg_predictor"]["fc.bias"]
    (copy / AUTOENCODER).unlink()
    torch.save(content, copy / AUTOENCODER)
    with pytest.raises(
        CheckpointError, match=r"background_predictor\.fc\.bias \(our name\) \[6\] is missing"
    ):
        read_motion_estimator(copy / AUTOENCODER)


def test_a_file_of_an_older_version_is_read(tmp_path):
    """Converted files of the authors' models name a number that no network needs, and an encoder that is not there."""
    text = json.loads(DawnConfig().to_json())
    text["mel"] = None
    for motion in text["motion"]:
        motion["init_rotary_dim"] = 4
    assert DawnConfig.from_json(json.dumps(text)) == DawnConfig()


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("autoencoder", {"bottleneck_blocks": 4000}, "bottleneck_blocks is 4000; possible are 0 to 64"),
        ("denoiser", {"train_timesteps": 10**9}, "train_timesteps is 1000000000"),
        ("denoiser", {"multipliers": [1] * 1000}, "multipliers lists 1000 numbers"),
        ("denoiser", {"base_width": -1}, "base_width is -1"),
    ],
)
def test_sizes_that_no_model_has_are_refused(part, change, message):
    text = json.loads(DawnConfig().to_json())
    text[part] |= change
    with pytest.raises(ValueError, match=message):
        DawnConfig.from_json(json.dumps(text))


def test_a_configuration_without_end_is_refused():
    with pytest.raises(ValueError, match="not a DAWN configuration"):
        DawnConfig.from_json('{"denoiser":' * 100_000)


def test_an_embedded_model_of_an_older_version_is_refused(tmp_path):
    text = json.loads(DAWN_NANO.to_json())
    text["mel"] = {"bands": 40}
    with pytest.raises(ValueError, match="whose speech encoder is gone"):
        DawnConfig.from_json(json.dumps(text))
