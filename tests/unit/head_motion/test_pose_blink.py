"""The pose and blink decoder: reference outputs, a plain dense computation, variants and their files."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from recipe import manifest, normal, weight

from dawn_model.config import PoseBlinkConfig
from dawn_model.head_motion.generate import denormalise_pose, generate_head_motion, normalise_pose
from dawn_model.head_motion.pose_blink import PoseBlinkDecoder
from dawn_model.official_keys import apply_table
from dawn_model.official_keys.options import MAX_BYTES, read_options
from dawn_model.official_keys.pose_blink import pose_blink_config, pose_blink_keys
from dawn_model.structures import AudioFeatures, FaceState

CASES = [("pose", 5), ("pose", 6), ("blink", 5), ("both", 5), ("both", 8)]
STACK = "decoder.seqTransDecoder.decoder_layers"


def frequencies(width: int) -> torch.Tensor:
    return 10000 ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)


def official_state(network: str, variant: int) -> dict[str, torch.Tensor]:
    """A checkpoint as the authors' code would save it, with recipe weights."""
    init_width, layer_width = (32, 16) if variant == 8 else (4, 4)
    state = {}
    for key, entry in manifest(f"pbnet_{network}").items():
        if key.endswith("rotary_emb.freqs"):
            state[key] = frequencies(init_width if "init_temporal_attn" in key else layer_width)
        elif entry["recipe"] != "constructed":
            state[key] = weight(key, tuple(entry["shape"]))
    return state


def options(variant: int) -> dict[str, object]:
    return {"archiname": f"transformerreemb{variant}", "max_distance": 128}


def load(state: dict[str, torch.Tensor], config: PoseBlinkConfig) -> PoseBlinkDecoder:
    ours, _, unknown = apply_table(state, pose_blink_keys(config))
    assert unknown == []
    decoder = PoseBlinkDecoder(config).eval()
    decoder.load_state_dict(ours)
    return decoder


def official_decoder(network: str, variant: int) -> PoseBlinkDecoder:
    state = official_state(network, variant)
    return load(state, pose_blink_config(options(variant), state))


def inputs(golden_tensors, network: str, frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    audio = normal(f"input.pbnet.audio.T{frames}", 1, frames, 1024)
    z = normal(f"input.pbnet.z.T{frames}", frames, 1, 256).transpose(0, 1)
    return audio, golden_tensors[f"in.x.{network}"][:, 0], z


def tiny(**changes) -> PoseBlinkConfig:
    sizes = {
        "audio_dim": 12,
        "audio_embed_dim": 10,
        "latent_dim": 16,
        "z_dim": 6,
        "head_dim": 8,
        "ff_dim": 24,
        "layers": 3,
        "bias_buckets": 16,
        "bias_max_distance": 20,
        "window": 9,
    }
    return PoseBlinkConfig(**{**sizes, **changes})


def randomised(config: PoseBlinkConfig) -> PoseBlinkDecoder:
    decoder = PoseBlinkDecoder(config).eval()
    decoder.load_state_dict(
        {
            key: normal(f"tiny.{key}", *t.shape) / math.sqrt(t.shape[-1])
            for key, t in decoder.state_dict().items()
        }
    )
    return decoder


@pytest.mark.parametrize("frames", [60, 250])
@pytest.mark.parametrize(("network", "variant"), CASES)
def test_matches_the_reference(golden, network, variant, frames):
    tensors = golden("pbnet")
    output = official_decoder(network, variant)(*inputs(tensors, network, frames))
    torch.testing.assert_close(
        output, tensors[f"{network}.reemb{variant}.T{frames}.output"], atol=5e-6, rtol=0
    )


@pytest.mark.parametrize("frames", [60, 250])
def test_deleted_variant_without_bias_matches_the_reference(golden, frames):
    """reemb7 is refused when loading (no released file names it), but shares all code paths."""
    tensors = golden("pbnet")
    state = official_state("both", 5)
    for table in ("tgt", "mem"):
        state[f"decoder.time_rel_pos_bias_{table}.relative_attention_bias.weight"].zero_()
    config = dataclasses.replace(pose_blink_config(options(5), state), init_attention=False)
    output = load(state, config)(*inputs(tensors, "both", frames))
    torch.testing.assert_close(output, tensors[f"both.reemb7.T{frames}.output"], atol=5e-6, rtol=0)


def test_window_is_what_separates_train_from_eval(golden):
    tensors = golden("pbnet")
    state = official_state("pose", 6)
    config = dataclasses.replace(pose_blink_config(options(6), state), window=10**6)
    output = load(state, config)(*inputs(tensors, "pose", 250))
    expected = tensors["pose.reemb6.T250.nomask_training_bias.output"]
    torch.testing.assert_close(output, expected, atol=5e-6, rtol=0)
    assert (expected - tensors["pose.reemb6.T250.output"]).abs().max() > 1e-3


def test_inner_values_match_the_reference(golden):
    tensors = golden("pbnet")
    decoder = official_decoder("pose", 6)
    seen: dict[str, torch.Tensor] = {}
    for name, module in decoder.named_modules():
        module.register_forward_hook(lambda _module, _args, output, name=name: seen.__setitem__(name, output))
    decoder(*inputs(tensors, "pose", 60))
    names = {
        "audioEmbedding": "audio_embed",
        "ztimelinear": "memory_embed",
        "firstposeEmbedding": "first_embed",
        "seqTransDecoder.decoder_layers.0.self_attn": "layers.0.self_attention",
        "seqTransDecoder.decoder_layers.0.layer_norm1": "layers.0.self_norm",
        "seqTransDecoder.decoder_layers.0.multihead_attn": "layers.0.cross_attention",
        "seqTransDecoder.decoder_layers.0": "layers.0",
        "seqTransDecoder.decoder_layers.1": "layers.1",
    }
    seen["query"] = decoder.query
    seen["initial"] = decoder.query + seen["init_attention"]
    for official, ours in {**names, "init_proj": "query", "init_temporal_attn": "initial"}.items():
        expected = tensors[f"trace.pose.reemb6.T60.{official}"]
        # Ours keeps rows that are equal for all frames as one row.
        torch.testing.assert_close(
            seen[ours].expand_as(expected),
            expected,
            atol=5e-6,
            rtol=0,
            msg=lambda text, o=official: f"{o}: {text}",
        )


def face(golden_tensors) -> FaceState:
    return FaceState(
        pose=golden_tensors["in.init_pose_raw"].flatten(),
        blink=golden_tensors["in.x.blink"].flatten(),
        box=torch.tensor([30.0, 30.0, 90.0, 100.0]),
        height=128,
        width=128,
    )


def test_head_motion_matches_the_reference(golden):
    tensors = golden("pbnet")
    audio, _, z = inputs(tensors, "pose", 60)
    networks = [official_decoder("blink", 5), official_decoder("pose", 6)]
    motion = generate_head_motion(networks, AudioFeatures(audio[0]), face(tensors), [z[0], z[0]])
    assert len(motion) == 60
    torch.testing.assert_close(
        normalise_pose(motion.pose), normalise_pose(tensors["pipeline.dri_pose.T60"]), atol=5e-6, rtol=0
    )
    torch.testing.assert_close(motion.blink, tensors["pipeline.dri_blink.T60"], atol=5e-6, rtol=0)


def test_joint_network_gives_pose_and_blink(golden):
    tensors = golden("pbnet")
    audio, first, z = inputs(tensors, "both", 60)
    decoder = official_decoder("both", 8)
    motion = generate_head_motion([decoder], AudioFeatures(audio[0]), face(tensors), [z[0]])
    delta = decoder(audio, torch.cat([normalise_pose(face(tensors).pose), face(tensors).blink])[None], z)[0]
    torch.testing.assert_close(motion.blink, face(tensors).blink + delta[:, 6:])
    torch.testing.assert_close(
        motion.pose, denormalise_pose(normalise_pose(face(tensors).pose) + delta[:, :6])
    )
    assert first.shape == (1, 8)


def test_head_motion_says_what_does_not_fit(golden):
    tensors = golden("pbnet")
    pose, blink = PoseBlinkDecoder(tiny()), PoseBlinkDecoder(tiny(pose_dim=0, blink_dim=2))
    audio, z = AudioFeatures(torch.zeros(5, 12)), torch.zeros(5, 6)
    with pytest.raises(ValueError, match=r"\(pose, blink\) = \[\(6, 0\)\]"):
        generate_head_motion([pose], audio, face(tensors), [z])
    with pytest.raises(ValueError, match="2 networks need as many noise tensors, got 1"):
        generate_head_motion([pose, blink], audio, face(tensors), [z])
    with pytest.raises(ValueError, match=r"expected noise \[5, 6\], got \[4, 6\]"):
        generate_head_motion([pose, blink], audio, face(tensors), [z[:4], z])
    with pytest.raises(ValueError, match="expects 12 audio features per frame, got 8"):
        generate_head_motion([pose, blink], AudioFeatures(torch.zeros(5, 8)), face(tensors), [z, z])


def dense_decoder(
    state: dict[str, torch.Tensor],
    config: PoseBlinkConfig,
    audio: torch.Tensor,
    first: torch.Tensor,
    z: torch.Tensor,
) -> torch.Tensor:
    """The decoder written down plainly: every frame against every frame,
    nothing folded, official names. The check of the band, the partial rotation and the
    equal-rows shortcut."""
    frames, heads, dim = audio.shape[1], config.heads, config.head_dim
    distance = torch.arange(frames)[:, None] - torch.arange(frames)[None]
    half, exact = config.bias_buckets // 2, config.bias_buckets // 4
    far = exact + torch.log(distance.abs().clamp(min=1) / exact) / math.log(
        config.bias_max_distance / exact
    ) * (half - exact)
    bucket = torch.where(distance.abs() < exact, distance.abs(), far.long().clamp(max=half - 1))
    bucket = bucket + half * (distance < 0)

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def split(x):
        return x.unflatten(-1, (heads, dim)).transpose(1, 2)

    def rotate(x, freqs):
        angle = torch.arange(frames)[:, None] * freqs
        rotated = x.clone()
        for pair in range(len(freqs)):
            a, b = x[..., 2 * pair], x[..., 2 * pair + 1]
            cos, sin = angle[:, pair].cos(), angle[:, pair].sin()
            rotated[..., 2 * pair], rotated[..., 2 * pair + 1] = a * cos - b * sin, b * cos + a * sin
        return rotated

    def attend(q, k, v, name, table):
        freqs = state[f"{name}.rotary_emb.freqs"]
        q, k, v = rotate(split(q) * dim**-0.5, freqs), rotate(split(k), freqs), split(v)
        bias = state[f"decoder.time_rel_pos_bias_{table}.relative_attention_bias.weight"][bucket].permute(
            2, 0, 1
        )
        scores = q @ k.transpose(-1, -2) + bias - 1e8 * (distance.abs() > config.window)
        return linear((scores.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{name}.to_out")

    face = linear(first, "decoder.firstposeEmbedding")[:, None].expand(-1, frames, -1)
    memory = linear(torch.cat([face, z, linear(audio, "decoder.audioEmbedding")], -1), "decoder.ztimelinear")
    query = linear(torch.zeros_like(memory), "decoder.init_proj")
    if config.init_attention:
        init = "decoder.init_temporal_attn.fn"
        gain = state[f"{init}.norm.gamma"].flatten()
        normed = F.layer_norm(query, query.shape[-1:], gain, None)
        query = query + attend(*linear(normed, f"{init}.fn.to_qkv").chunk(3, -1), f"{init}.fn", "tgt")
    for index in range(config.layers):
        layer = f"{STACK}.{index}"
        seen = attend(*linear(query, f"{layer}.self_attn.to_qkv").chunk(3, -1), f"{layer}.self_attn", "tgt")
        query = norm(query + seen, f"{layer}.layer_norm1")
        cross = f"{layer}.multihead_attn"
        projected = (
            linear(query, f"{cross}.to_q"),
            linear(memory, f"{cross}.to_k"),
            linear(memory, f"{cross}.to_v"),
        )
        query = norm(query + attend(*projected, cross, "mem"), f"{layer}.layer_norm2")
        wide = F.gelu(linear(query, f"{layer}.ffn.linear1"))
        query = norm(query + linear(wide, f"{layer}.ffn.linear2"), f"{layer}.layer_norm3")
    return linear(query, "decoder.finallayer")


@pytest.mark.parametrize(
    ("network", "variant", "frames"), [("pose", 6, 333), ("both", 8, 1), ("blink", 5, 450)]
)
def test_matches_a_plain_dense_computation(network, variant, frames):
    state = official_state(network, variant)
    config = pose_blink_config(options(variant), state)
    audio, z = normal("dense.audio", 2, frames, 1024), normal("dense.z", 2, frames, 256)
    first = normal("dense.first", 2, config.output_dim)
    torch.testing.assert_close(
        load(state, config)(audio, first, z), dense_decoder(state, config, audio, first, z), atol=5e-6, rtol=0
    )


def test_no_frame_sees_beyond_its_windows():
    """A frame hears the speech within one window; every later layer's self-attention adds one more."""
    decoder = randomised(tiny())
    audio, first, z = normal("far.audio", 1, 300, 12), normal("far.first", 1, 6), normal("far.z", 1, 300, 6)
    before = decoder(audio, first, z)
    audio[:, 150] += 1
    reached = (decoder(audio, first, z) - before).abs().amax(dim=(0, 2)).nonzero().flatten()
    assert (reached.min(), reached.max()) == (150 - 3 * 9, 150 + 3 * 9)


def test_first_frames_do_not_depend_on_later_ones():
    decoder = randomised(tiny())
    audio, first, z = normal("far.audio", 1, 300, 12), normal("far.first", 1, 6), normal("far.z", 1, 300, 6)
    torch.testing.assert_close(
        decoder(audio[:, :200], first, z[:, :200])[:, :150],
        decoder(audio, first, z)[:, :150],
        atol=1e-5,
        rtol=0,
    )


def test_ten_minutes_stay_linear():
    """15,000 frames: a dense score matrix alone would need 3.6 GB."""
    decoder = PoseBlinkDecoder(tiny(window=100)).eval()
    frames = 15000
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                largest = max(largest, result.numel())
            return result

    with Watch():
        decoder(torch.zeros(1, frames, 12), torch.zeros(1, 6), torch.zeros(1, frames, 6))
    assert largest <= frames * 4 * 8


def test_runs_in_half_precision():
    decoder = randomised(tiny())
    audio, first, z = normal("half.audio", 1, 40, 12), normal("half.first", 1, 6), normal("half.z", 1, 40, 6)
    expected = decoder(audio, first, z)
    output = decoder.bfloat16()(audio.bfloat16(), first.bfloat16(), z.bfloat16())
    assert output.dtype == torch.bfloat16
    assert (output.float() - expected).abs().max() < 0.1 * expected.std()


def test_config_comes_from_options_and_shapes():
    state = official_state("both", 8)
    config = pose_blink_config(options(8), state)
    assert config == PoseBlinkConfig(
        pose_dim=6, blink_dim=2, window=200, init_attention=False, layer_rotary_dim=16
    )
    assert pose_blink_config(options(6), official_state("pose", 6)) == PoseBlinkConfig()
    assert pose_blink_config({"archiname": "transformerreemb5"}, official_state("blink", 5)).window == 200


def test_contradictions_are_named():
    state = official_state("both", 8)
    with pytest.raises(ValueError, match=r"'transformerreemb7'.*known are transformerreemb5"):
        pose_blink_config(options(7), state)
    with pytest.raises(ValueError, match="''"):
        pose_blink_config({}, state)
    with pytest.raises(ValueError, match="do not belong together"):
        pose_blink_config(options(5), state)
    with pytest.raises(ValueError, match=r"transformerreemb6 makes 6 values.*makes 2"):
        pose_blink_config(options(6), official_state("blink", 5))
    with pytest.raises(ValueError, match=r"decoder\.finallayer\.weight is missing"):
        pose_blink_config(options(8), {"weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="max_distance must be a whole number above 32, got '128'"):
        pose_blink_config({**options(8), "max_distance": "128"}, state)
    state[f"{STACK}.1.multihead_attn.rotary_emb.freqs"] = frequencies(16) * 2
    with pytest.raises(ValueError, match=r"decoder_layers\.1\.multihead_attn.*expected the constants"):
        pose_blink_config(options(8), state)


def test_options_are_read_as_plain_data(tmp_path):
    path = tmp_path / "opt.yaml"
    path.write_text(
        "archiname: transformerreemb6\nmax_distance: 128\nlambdas: !!python/dict {kl: 1.0e-5}\n"
        "device: !!python/object/apply:os.system ['touch should_not_exist']\n"
        "shape: !!python/tuple [1, 2]\nname: !!python/name:os.system ''\n"
    )
    read = read_options(path)
    assert read["archiname"] == "transformerreemb6" and read["max_distance"] == 128
    assert read["lambdas"] == {"kl": 1e-5} and read["shape"] == [1, 2] and read["name"] == ""
    assert read["device"] == ["touch should_not_exist"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- 1\n- 2\n", "holds a list"),
        ("a: [1, 2\n", "not a readable YAML file"),
        ("a: 1\nb: !custom {c: 1}\n", "not a readable YAML file"),
        ("a: 1\nb: {<<: {x: 1}}\n", "merge keys are not supported"),
        ("a: &a [1]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n", "aliases are not supported"),
        ("[" * 20000, "not a readable YAML file"),
        ("a: 2024-99-99\n", "not a readable YAML file"),
        ("a: " + "9" * 9999, "not a readable YAML file"),
        ("a: " + "x" * MAX_BYTES, "at most"),
    ],
)
def test_unusable_options_are_refused(tmp_path, text, message):
    path = tmp_path / "opt.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_options(path)


def test_missing_options_say_where_they_belong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"opt\.yaml"):
        read_options(tmp_path / "opt.yaml")
