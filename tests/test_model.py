"""The model's parts keep their promises: exact bones, causality, caching, branches, guidance, determinism."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from motions import walk
from tiny_model import make_tiny_model

from core import prompts
from core.errors import Cancelled, CoreError
from core.model.backbone import Backbone, Cache
from core.model.checkpoint import load_model, save_model
from core.model.config import BackboneConfig, DiffusionConfig
from core.model.diffusion import DiffusionHead
from core.model.draft import Draft, Int8Linear
from core.model.kinematics import features_to_joints
from core.model.sampling import draw_noise
from core.model.schedule import Schedule
from core.skeleton import bone_lengths
from core.tasks.caption import caption, encode_motion
from core.tasks.generate import generate


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), Path(sys.executable))
    return load_model(folder, "cpu")


def test_decoded_bones_are_exact_and_of_the_asked_length(model):
    z = torch.randn(3, model.cfg.vae.width)
    joints = model.vae.decode_joints(z, torch.tensor([20, 57, 196]))
    assert joints.shape == (3, 196, 22, 3)
    for j, n in zip(joints.numpy(), (20, 57, 196), strict=True):
        assert np.allclose(bone_lengths(j[:n])[:, 1:], model.vae.bones[1:].numpy(), atol=1e-4)


def test_padding_changes_nothing(model):
    vae = model.vae
    features = torch.randn(1, 40, 263)
    longer = torch.cat([features, torch.randn(1, 24, 263)], 1)
    n = torch.tensor([40])
    for a, b in zip(vae.encode(features, n), vae.encode(longer, n), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    z = torch.randn(2, vae.cfg.width)
    alone = vae.decode_joints(z[:1], torch.tensor([33]))
    beside = vae.decode_joints(z, torch.tensor([33, 90]))
    assert torch.allclose(alone[0], beside[0, :33], atol=1e-5)


def backbone(shared: str = "all") -> Backbone:
    sizes = BackboneConfig(width=32, layers=2, heads=2, ff=48, positions=64, text_vocab=50, shared=shared)
    return Backbone(sizes).eval()


def test_attention_is_causal_and_padding_is_unseen():
    net = backbone()
    x, kind = torch.randn(2, 12, 32), torch.randint(0, 2, (2, 12))
    whole = net(x, kind)
    assert torch.allclose(net(x[:, :7], kind[:, :7]), whole[:, :7], atol=1e-5)
    kind[0, 9:] = -1
    assert torch.allclose(net(x, kind)[0, :9], whole[0, :9], atol=1e-5)
    assert not net(x, kind)[0, 9:].any()


def test_cache_gives_what_the_whole_prompt_gives():
    net = backbone()
    x, kind = torch.randn(1, 9, 32), torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0, 0]])
    whole, cache = net(x, kind), Cache(16)
    first = net(x[:, :6], kind[:, :6], cache)
    rest = [net(x[:, i : i + 1], kind[:, i : i + 1], cache) for i in range(6, 9)]
    assert torch.allclose(torch.cat([first, *rest], 1), whole, atol=1e-5)


def test_branches_meet_in_attention_only():
    net = backbone()
    x = torch.randn(1, 8, 32)
    text, mixed = torch.zeros(1, 8, dtype=torch.long), torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])
    before = net(x, text), net(x, mixed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if ".fn.1." in name:
                p.add_(0.1)
    after = net(x, text), net(x, mixed)
    assert torch.equal(before[0], after[0])  # a text-only prompt never touches the motion branch
    assert not torch.allclose(before[1][:, 2:], after[1][:, 2:])  # text after motion sees it through attention


def test_schedule_and_sampler_recover_a_known_latent(monkeypatch):
    cfg = DiffusionConfig(width=16, depth=1, cond_heads=2, cond_ff=16, steps=50)
    schedule = Schedule(cfg, 50)
    assert schedule.timesteps[0] == 0
    assert schedule.timesteps[-1] == 999
    head = DiffusionHead(cfg, 16, 8)
    target = torch.randn(2, 8)
    step = iter(range(49, -1, -1))

    def exact(x, *_):  # the true noise, were `target` the clean latent
        ab = schedule.alpha_bar[next(step)]
        return (x - ab**0.5 * target) / (1 - ab) ** 0.5

    monkeypatch.setattr("core.model.sampling.denoise", exact)
    noise = draw_noise([1, 2], 50, 8)
    out = head.sample(torch.randn(2, 4, 16), None, noise[0], noise[1:], guidance=1.0)
    assert torch.allclose(out, target, atol=1e-3)


def test_a_seed_means_the_same_alone_and_among_others(model):
    together = generate(model, "a person walks", 2.0, 5, variations=3)
    alone = generate(model, "a person walks", 2.0, 7)
    again = generate(model, "a person walks", 2.0, 7)
    assert np.array_equal(alone[0], again[0])
    assert np.allclose(together[2], alone[0], atol=1e-4)
    assert not np.allclose(together[0], together[1], atol=1e-3)


def test_guidance_and_prompt_matter(model):
    plain = generate(model, "a person walks", 2.0, 5, guidance=1.0)[0]
    assert not np.allclose(plain, generate(model, "a person walks", 2.0, 5, guidance=4.0)[0], atol=1e-4)
    assert not np.allclose(plain, generate(model, "a person runs", 2.0, 5, guidance=1.0)[0], atol=1e-5)


@pytest.mark.parametrize(("seconds", "frames"), [(1.0, 20), (4.0, 80), (9.8, 196)])
def test_duration_is_the_users(model, seconds, frames):
    (joints,) = generate(model, "a person walks", seconds, 0)
    assert joints.shape == (frames, 22, 3)
    assert joints.dtype == np.float32
    assert abs(joints[..., 1].min()) < 1e-4  # on the floor
    assert np.allclose(joints[0, 0, [0, 2]], 0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"seconds": 0.5}, "duration_out_of_range"),
        ({"seconds": 10.0}, "duration_out_of_range"),
        ({"seconds": float("nan")}, "duration_out_of_range"),
        ({"prompt": "  "}, "prompt_empty"),
        ({"prompt": "walk " * 400}, "prompt_too_long"),
        ({"seed": -1}, "seed_out_of_range"),
        ({"seed": 2**31}, "seed_out_of_range"),
        ({"guidance": float("inf")}, "guidance_out_of_range"),
        ({"variations": 0}, "variations_out_of_range"),
        ({"steps": 0}, "steps_out_of_range"),
    ],
)
def test_bad_requests_say_what_to_do(model, arguments, code):
    given = {"prompt": "a person walks", "seconds": 2.0, "seed": 0} | arguments
    with pytest.raises(CoreError) as caught:
        generate(model, **given)
    assert caught.value.code == code
    assert caught.value.remedy


def test_cancel_stops_at_the_next_step(model):
    seen = []

    def cancelled() -> bool:
        seen.append(1)
        return len(seen) == 3

    with pytest.raises(Cancelled):
        generate(model, "a person walks", 2.0, 0, cancelled=cancelled)
    assert len(seen) == 3


def test_caption_is_text_and_short_motion_is_refused(model):
    sentences = caption(model, walk(), alternatives=2)
    assert all(isinstance(s, str) for s in sentences)
    assert len(set(sentences)) == len(sentences)
    with pytest.raises(CoreError) as caught:
        caption(model, walk()[:10])
    assert caught.value.code == "motion_too_short"
    broken = walk()
    broken[3, 4, 1] = np.nan
    with pytest.raises(CoreError) as caught:
        caption(model, broken)
    assert caught.value.code == "motion_not_finite"


def test_code_does_not_depend_on_place_or_facing(model):
    joints = walk()
    turn = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.float32)
    moved = joints @ turn + np.array([3, 0.5, -2], np.float32)
    assert torch.allclose(encode_motion(model, joints), encode_motion(model, moved), atol=1e-2)


def test_features_become_joints_as_in_numpy():
    from core.features import features_to_joints as reference
    from core.features import joints_to_features

    features = joints_to_features(walk())
    ours = features_to_joints(torch.from_numpy(features))
    assert np.allclose(ours.numpy(), reference(features), atol=1e-4)


def test_prompt_has_its_holders(model):
    tk = model.tokenizer
    ids = tk.encode(prompts.text_to_motion("a person walks", 4.0))
    assert ids[-7:] == [tk.som, *[tk.holder_out] * 4, tk.eom, tk.eos]
    assert tk.encode(prompts.motion_to_text()).count(tk.holder_in) == 4


def test_model_folder_round_trip(model, tmp_path):
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, "cpu")
    a = generate(model, "a person walks", 2.0, 3)[0]
    assert np.array_equal(a, generate(loaded, "a person walks", 2.0, 3)[0])
    assert loaded.info["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.safetensors", None, "model_missing"),
        ("model.safetensors", b"not safetensors at all", "model_broken"),
        ("model.safetensors", "truncate", "model_broken"),
        ("config.json", b"{", "model_broken"),
        ("config.json", b'{"vae": {"no_such_size": 3}}', "model_broken"),
        ("config.json", b"[]", "model_broken"),
        ("tokenizer.json", b"{}", "model_broken"),
    ],
)
def test_a_damaged_model_folder_says_so(model, tmp_path, name, content, code):
    save_model(model, tmp_path)
    file = tmp_path / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content == "truncate" else content)
    with pytest.raises(CoreError) as caught:
        load_model(tmp_path, "cpu")
    assert caught.value.code == code
    assert caught.value.remedy


def test_weights_of_another_size_are_refused(model, tmp_path):
    save_model(model, tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"depth": 4', '"depth": 5'))
    with pytest.raises(CoreError) as caught:
        load_model(tmp_path, "cpu")
    assert caught.value.code == "model_broken"


def test_a_missing_device_is_named():
    from core.model.checkpoint import pick_device

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(CoreError) as caught:
        pick_device("cuda")
    assert caught.value.code == "device_missing"


def test_fast_takes_the_models_fast_recipe_and_an_unknown_sampler_is_refused(model):
    cfg = model.cfg.diffusion
    fast = generate(model, "a person walks", 2.0, 5, fast=True)[0]
    by_hand = generate(model, "a person walks", 2.0, 5, steps=cfg.fast_steps)[0]
    assert cfg.fast_sampler == cfg.sampler
    assert np.array_equal(fast, by_hand)
    with pytest.raises(ValueError, match="sampler"):
        model.sample_codes(model.condition(model.prompt(prompts.text_to_motion("x", 2.0))), [1], sampler="euler")


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_few_deterministic_steps_come_near_to_many(model, sampler):
    """Both solve the same equation, so they must meet; their order is what the number of steps buys."""
    condition = model.condition(model.prompt(prompts.text_to_motion("a person walks", 2.0)))

    def end(steps, by=sampler):
        return model.sample_codes(condition, [3], steps=steps, guidance=1.0, sampler=by)

    limit = end(1000, "ddim")
    errors = [float((end(steps) - limit).abs().max()) for steps in (5, 20, 80)]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.05 * float(limit.abs().max())


def test_kept_tables_follow_the_weights(model):
    """What sampling keeps of the unconditional branch is made anew when a weight changes."""
    condition = model.condition(model.prompt(prompts.text_to_motion("a person walks", 2.0)))
    before = model.sample_codes(condition, [3], steps=5)
    assert torch.equal(before, model.sample_codes(condition, [3], steps=5))
    with torch.no_grad():
        model.fake_latent += 1.0
    try:
        assert not torch.equal(before, model.sample_codes(condition, [3], steps=5))
    finally:
        with torch.no_grad():
            model.fake_latent -= 1.0


def test_what_a_draft_guesses_is_checked(model):
    """Text is the same token by token with and without the draft, however wrong its guesses are."""
    codes = torch.randn(1, 1, model.cfg.vae.width)
    ids = model.prompt(prompts.motion_to_text())
    tokens, score = model.write(ids, codes, draft=False)
    assert len(tokens) > 12
    for spoil in (False, True):
        model.draft = Draft(model.backbone)
        if spoil:
            model.draft.head = Int8Linear(model.backbone.wte.weight.roll(1, 0), None)  # it always guesses the neighbour
        guessed, likely = model.write(ids, codes, draft=True)
        assert guessed == tokens
        assert likely == pytest.approx(score, abs=1e-4)
        alone, _ = model.write(ids, codes, draft=True, unchecked=True)
        assert len(alone) <= 40
        assert (alone == tokens) is not spoil  # unchecked, a wrong guess stays
    model.draft = None


def test_several_prompts_and_copies_are_written_as_one_by_one(model):
    codes = torch.randn(3, 1, model.cfg.vae.width)
    ids = model.prompt(prompts.motion_to_text()).expand(3, -1)
    together = model.write_all(ids, codes)
    assert [t for t, _ in together] == [model.write(ids[:1], codes[i : i + 1])[0] for i in range(3)]
    draw = torch.Generator().manual_seed(0)
    copies = model.write_all(ids[:1], codes[:1], copies=6, generator=draw, temperature=2.0)
    assert len({tuple(t) for t, _ in copies}) > 1


@pytest.mark.parametrize("mode", ["last1", "none"])
def test_branches_that_do_not_share_attention_read_token_by_token_too(mode):
    net = backbone(shared=mode)
    x, kind = torch.randn(1, 9, 32), torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0, 0]])
    whole, cache = net(x, kind), Cache(16)
    first = net(x[:, :6], kind[:, :6], cache)
    rest = [net(x[:, i : i + 1], kind[:, i : i + 1], cache) for i in range(6, 9)]
    assert torch.allclose(torch.cat([first, *rest], 1), whole, atol=1e-5)


def test_only_what_is_wanted_is_computed_to_the_end():
    net = backbone()
    x, kind = torch.randn(2, 9, 32), torch.randint(0, 2, (2, 9))
    want = torch.zeros(2, 9, dtype=torch.bool)
    want[0, 3], want[1, 8] = True, True
    some = net(x, kind, want=want)
    assert torch.allclose(some[want], net(x, kind)[want], atol=1e-6)
    assert not some[~want].any()


def test_a_model_trained_without_guidance_is_not_guided(tmp_path):
    model = load_model(make_tiny_model(tmp_path / "tiny", Path(sys.executable)), "cpu")
    model.cfg.diffusion.guidance = 1.0
    plain = generate(model, "a person walks", 2.0, 5)[0]
    assert np.array_equal(plain, generate(model, "a person walks", 2.0, 5, guidance=1.0)[0])
    with pytest.raises(CoreError, match="without guidance"):
        generate(model, "a person walks", 2.0, 5, guidance=4.0)


def test_bfloat16_products_change_a_motion_little(tmp_path):
    folder = make_tiny_model(tmp_path / "tiny", Path(sys.executable))
    exact, rough = load_model(folder, "cpu"), load_model(folder, "cpu", "bfloat16")
    a, b = (generate(m, "a person walks", 2.0, 5)[0] for m in (exact, rough))
    assert not np.array_equal(a, b)
    assert np.abs(a - b).max() < 0.1
    assert caption(rough, walk(40))


def test_a_lower_temperature_scales_the_noise_between_the_steps(model):
    head = copy.deepcopy(model.head)
    condition = torch.randn(1, model.cfg.backbone.holders, model.cfg.backbone.width)
    noise = torch.randn(20, 1, model.cfg.vae.channels)
    given = head.sample(condition, None, noise[0], 0.5 * noise[1:], guidance=1)
    head.cfg.temperature = 0.5
    assert torch.allclose(head.sample(condition, None, noise[0], noise[1:], guidance=1), given, atol=1e-6)


def test_velocity_gives_the_noise_that_is_there(model):
    head = copy.deepcopy(model.head)
    latent, noise = torch.randn(2, 3, model.cfg.vae.channels)
    alpha_bar = torch.tensor([[0.99], [0.5], [0.01]])
    x = alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * noise
    head.cfg.predicts = "velocity"
    exact = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * latent
    assert torch.allclose(head.noise_in(x, exact, alpha_bar), noise, atol=1e-5)
    # Sampling reads the network's output the same way as the loss does.
    condition = torch.randn(1, model.cfg.backbone.holders, model.cfg.backbone.width)
    seen = []
    head.sample(condition, None, noise[:1], noise[:0], steps=1, guidance=1, on_state=lambda *s: seen.append(s))
    ab = torch.tensor([[float(Schedule(head.cfg, 1).alpha_bar[0])]])
    eps = head.noise_in(noise[:1], head(noise[:1], torch.zeros(1, dtype=torch.long), condition), ab)
    assert torch.allclose(seen[0][2], (noise[:1] - (1 - ab).sqrt() * eps) / ab.sqrt(), atol=1e-4)
