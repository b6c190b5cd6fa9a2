"""Policies in small files: `dexfw_envs.runs.policies`."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch, which this environment lacks")

from dexfw_envs.runs.checkpoints import dump
from dexfw_envs.runs.policies import LARGEST, read_policy, write_policy


def checkpoint() -> dict:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "body.weight": torch.randn(64, 128, generator=generator)
        * torch.logspace(-3, 1, 64)[:, None],
        "body.bias": torch.randn(64, generator=generator),
        "dead.weight": torch.zeros(64, 128),
        "sums": torch.randn(3, 5, generator=generator, dtype=torch.float64),
    }
    return {"method": "m", "args": {"sizes": (1, 2)}, "base": weights, "residual": None}


def test_a_policy_comes_back(tmp_path):
    path, state = tmp_path / "policies" / "i1-seed1.safetensors", checkpoint()
    write_policy(path, state)
    found = read_policy(path)
    assert found["method"] == "m" and found["args"] == {"sizes": [1, 2]}
    assert found["residual"] is None and list(found["base"]) != []
    for name in ("body.bias", "sums", "dead.weight"):
        assert torch.equal(found["base"][name], state["base"][name])
        assert found["base"][name].dtype == state["base"][name].dtype
    before, after = state["base"]["body.weight"], found["base"]["body.weight"]
    assert after.dtype == torch.float32
    step = before.abs().amax(1, keepdim=True) / LARGEST
    assert ((before - after).abs() <= step * 0.5001).all() and not torch.equal(before, after)


def test_it_is_much_smaller_than_the_checkpoint(tmp_path):
    state = {"base": {"w": torch.randn(512, 512)}}
    write_policy(tmp_path / "p.safetensors", state)
    assert (tmp_path / "p.safetensors").stat().st_size < 0.4 * len(dump(state))


@pytest.mark.parametrize("width", [64, 65, 66, 67])
def test_rows_of_any_width_come_back(tmp_path, width):
    whole = torch.arange(64 * width).reshape(64, width) % (2 * LARGEST + 1) - float(LARGEST)
    whole[:, 0] = LARGEST  # the scale of every row is one
    write_policy(tmp_path / "p.safetensors", {"w": whole})
    torch.testing.assert_close(read_policy(tmp_path / "p.safetensors")["w"], whole)


def test_files_with_coarser_numbers_are_read(tmp_path):
    """Those written before held bytes, from -31 to 31."""
    import zlib

    from safetensors.torch import save

    from dexfw_envs.runs import policies

    whole = (torch.arange(64 * 65).reshape(64, 65) % 63 - 31).to(torch.int8)
    coded = torch.frombuffer(bytearray(zlib.compress(whole.numpy().tobytes())), dtype=torch.uint8)
    tensors = {"w": coded, "w/scale": torch.full((64,), 0.5), "w/shape": torch.tensor([64, 65])}
    sealed = f"{policies._checksum(tensors, '{}')} {{}}"
    (tmp_path / "p.safetensors").write_bytes(save(tensors, {policies.ENTRIES: sealed}))
    assert torch.equal(read_policy(tmp_path / "p.safetensors")["w"], whole * 0.5)


def test_the_same_policy_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_policy(tmp_path / f"{name}.safetensors", checkpoint())
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_checkpoints_are_read_too(tmp_path):
    (tmp_path / "p.pt").write_bytes(dump(checkpoint()))
    assert read_policy(tmp_path / "p.pt")["args"] == {"sizes": (1, 2)}


def test_what_is_no_policy_is_refused(tmp_path):
    from safetensors.torch import save

    (tmp_path / "torn.safetensors").write_bytes(b"\0" * 20)
    (tmp_path / "other.safetensors").write_bytes(save({"w": torch.ones(2)}))
    lost = {"w": torch.ones(9, dtype=torch.uint8), "w/scale": torch.ones(2)}
    lost["w/shape"] = torch.tensor([2, 4])
    (tmp_path / "lost.safetensors").write_bytes(save(lost, {"dexfw_policy": '{"a": 1}'}))
    for name in ("torn", "other", "lost"):
        with pytest.raises(ValueError, match=f"{name}.safetensors is no policy"):
            read_policy(tmp_path / f"{name}.safetensors")
    with pytest.raises(FileNotFoundError):
        read_policy(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="a policy file ends in"):
        write_policy(tmp_path / "p.pt", checkpoint())
