"""The speech encoder on a small random network: transformers' own results, clips, files."""

from __future__ import annotations

import sys

import pytest
import torch
from recipe import normal
from safetensors.torch import load_file, save_file

from dawn_model.audio.hubert import HubertEncoder, HubertSize, infer_size, load_hubert
from dawn_model.audio.waveform import normalise

SMALL = HubertSize(
    width=64, layers=2, heads=1, ff_dim=96, conv_widths=(16,) * 7, position_kernel=16, position_groups=4
)


@pytest.fixture(scope="module", autouse=True)
def _transformers_without_torchvision():
    """HuBERT needs no torchvision, but transformers imports what is there, even if it is broken
    (a CUDA build beside a CPU torch)."""
    with pytest.MonkeyPatch.context() as patch:
        if "torchvision" not in sys.modules:
            patch.setitem(sys.modules, "torchvision", None)
        from transformers import HubertModel  # noqa: F401
    yield


@pytest.fixture(scope="module")
def recogniser():
    """What the download is: an encoder with a letter head, here small and random."""
    from transformers import HubertConfig, HubertForCTC

    torch.manual_seed(0)
    # The values of the published config.json, sizes aside.
    config = HubertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        intermediate_size=96,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        mask_time_prob=0.05,
        vocab_size=32,
    )
    with torch.inference_mode():
        return HubertForCTC(config).eval()


def published(recogniser) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in recogniser.state_dict().items()}


def with_old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    halves = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    renamed = {}
    for key, tensor in state.items():
        for new, old in halves.items():
            key = key.replace(new, old)
        renamed[key] = tensor
    return renamed


def rekeyed_for_core(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix("hubert."): tensor for key, tensor in state.items() if not key.startswith("lm_head")
    }


@pytest.mark.parametrize("names", [lambda state: state, with_old_names, rekeyed_for_core])
def test_matches_transformers(recogniser, names):
    encoder = load_hubert(names(published(recogniser)))
    speech = normal("hubert.speech", 16000) * 0.1 + 0.02
    expected = recogniser.hubert(normalise(speech)[None]).last_hidden_state[0]
    hidden = encoder.encode(speech)
    assert hidden.shape == (49, 64) and expected.std() > 0.1
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=0)


def test_normalises_as_the_published_processor(recogniser):
    from transformers import Wav2Vec2FeatureExtractor

    processor = Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=16000, padding_value=0.0, do_normalize=True
    )
    speech = normal("hubert.speech", 16000) * 0.1 + 0.02
    values = processor(speech.numpy(), sampling_rate=16000, return_tensors="pt").input_values
    expected = recogniser.hubert(values).last_hidden_state[0]
    torch.testing.assert_close(load_hubert(published(recogniser)).encode(speech), expected, atol=1e-5, rtol=0)


def test_long_sound_is_heard_in_clips_of_twenty_seconds(recogniser):
    encoder = load_hubert(published(recogniser))
    speech = normal("hubert.long", 332345)
    heard: list[tuple[int, int]] = []
    hidden = encoder.encode(speech, lambda done, total: heard.append((done, total)))
    signal = normalise(speech)
    clips = [
        recogniser.hubert(clip[None]).last_hidden_state[0] for clip in (signal[:320080], signal[320000:])
    ]
    assert heard == [(1, 2), (2, 2)] and [len(clip) for clip in clips] == [1000, 38]
    torch.testing.assert_close(hidden, torch.cat(clips), atol=1e-5, rtol=0)


def test_work_ends_when_the_callback_raises(recogniser):
    class Cancelled(BaseException):
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled(done, total)

    with pytest.raises(Cancelled) as cancelled:
        load_hubert(published(recogniser)).encode(torch.zeros(320000 + 16000), cancel)
    assert cancelled.value.args == (1, 2)


def test_all_layers_end_in_the_last_hidden_states(recogniser):
    encoder = load_hubert(published(recogniser))
    signal = normal("hubert.speech", 2, 8000)
    layers = encoder.all_layers(signal)
    assert [layer.shape for layer in layers] == [(2, 24, 64)] * 3
    torch.testing.assert_close(layers[-1], encoder(signal))
    first = encoder.model.encoder.layers[0](layers[0])
    torch.testing.assert_close(first[0] if isinstance(first, tuple) else first, layers[1])


def test_silence_gives_finite_states(recogniser):
    assert load_hubert(published(recogniser)).encode(torch.zeros(640)).isfinite().all()


def test_half_precision_weights_answer_in_the_precision_of_the_signal(recogniser):
    encoder = load_hubert(published(recogniser))
    speech = normal("hubert.speech", 16000)
    expected = encoder.encode(speech)
    hidden = encoder.bfloat16().encode(speech)
    assert hidden.dtype == torch.float32
    assert (hidden - expected).abs().mean() < 0.05 * expected.std()


@pytest.mark.parametrize("names", [lambda state: state, with_old_names])
def test_loads_from_both_kinds_of_file(recogniser, tmp_path, names):
    state = names(published(recogniser))
    torch.save(state, tmp_path / "pytorch_model.bin")
    save_file(state, tmp_path / "model.safetensors")
    speech = normal("hubert.speech", 3000)
    from_pickle = load_hubert(torch.load(tmp_path / "pytorch_model.bin", weights_only=True))
    from_safetensors = load_hubert(load_file(tmp_path / "model.safetensors"))
    assert from_pickle.encode(speech).equal(from_safetensors.encode(speech))


def test_weights_are_taken_not_copied(recogniser):
    state = published(recogniser)
    encoder = load_hubert(state)
    assert (
        encoder.model.encoder.layer_norm.weight.data_ptr()
        == state["hubert.encoder.layer_norm.weight"].data_ptr()
    )
    assert not encoder.training and not any(parameter.requires_grad for parameter in encoder.parameters())


def test_sizes_are_read_from_the_tensors(recogniser):
    assert infer_size(rekeyed_for_core(published(recogniser))) == SMALL


def test_large_has_the_published_number_of_parameters():
    with torch.device("meta"):
        encoder = HubertEncoder(HubertSize())
    masked_spec_embed = 1024
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 315_438_720 - masked_spec_embed


def test_wrong_files_are_named(recogniser):
    state = published(recogniser)
    bias, norm = "hubert.encoder.layers.1.attention.k_proj.bias", "hubert.encoder.layers.0.layer_norm.weight"

    incomplete = {key: tensor for key, tensor in state.items() if key != bias}
    with pytest.raises(ValueError, match=f"missing: {bias.removeprefix('hubert.')}"):
        load_hubert(incomplete)
    with pytest.raises(ValueError, match=r"unknown: quantizer\.codevectors"):
        load_hubert({**state, "quantizer.codevectors": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"unknown: hubert\.encoder\.extra"):
        load_hubert({**state, "hubert.encoder.extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=rf"{norm} has shape \[3\], expected \[64\]"):
        load_hubert({**state, norm: torch.zeros(3)})
    with pytest.raises(ValueError, match=r"missing: encoder\.layers\.2\..*and \d+ more"):
        load_hubert(state, HubertSize(**{**vars(SMALL), "layers": 3}))


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"not a large HuBERT.*is missing"):
        load_hubert({"model.encoder.embed_positions.weight": torch.zeros(4, 4)})


def test_a_broken_transformers_is_explained(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"needs the package transformers.*torchvision"):
        HubertEncoder(SMALL)
