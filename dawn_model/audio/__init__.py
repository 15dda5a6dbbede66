"""Speech on its way in: waveforms, where they are silent, and the networks that turn them into features.

Start with `waveform.py` (rates, lengths, clips). `hubert.py` is the authors' speech encoder;
`speech_encoder.py` that of the embedded model: the first layers of Whisper (`whisper.py`) and a readout, whose numbers
`articulation.py` explains.
"""
