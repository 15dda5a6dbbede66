"""Speech on its way in: waveforms, where they are silent, and the networks that turn them into features.

Start with `waveform.py` (rates, lengths, clips). `hubert.py` is the authors' speech encoder, `mel_encoder.py` the one
of the embedded model.
"""
