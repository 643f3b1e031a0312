"""One step of GRPO by Lurker and by TRL's GRPOTrainer on the same work: the same model, prompts and numbers of tokens.

    python benchmarks/bench_policy.py [--steps 5] [--group 8] [--prompts 8] [--tokens 48] [--threads 1]

Each step draws a group for each prompt, rewards it by its length, and takes one gradient step with a divergence from
the reference. The model is random, so that the end token is one of thousands and nearly all responses have all tokens.
Both run in one process, alternately.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lurker.machine import processor
from rm.models.ladder import save
from rm.pairs.tokens import train_tokenizer
from rm.policy.agent_config import AgentConfig
from rm.policy.agent_step import AgentStep, Prompts, WriterScale
from rm.policy.causal import CausalModel, build_causal, load_policy, prompt_tokens
from rm.policy.judges import Judge
from rm.policy.response_logits import ResponseLogits
from rm.policy.writer_step import TokenLoss

WORDS = ("road", "rain", "tea", "home", "long", "after", "with", "went", "amber", "grit", "cedar", "knot")


def main() -> None:
    """Measure both and print seconds per step and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("steps", 5),
        ("group", 8),
        ("prompts", 8),
        ("tokens", 48),
        ("threads", 1),
        ("vocabulary", 4096),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--model", default="scratch-1m", help="name on the ladder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    texts = prompt_texts(options.prompts * (options.steps + 1))
    with tempfile.TemporaryDirectory() as folder:
        model = written_model(Path(folder) / "model", options.model, options.vocabulary)
        ours, theirs = our_step(Path(folder), model, texts, options), their_step(Path(folder), texts, options)
        seconds: dict[str, list[float]] = {"Lurker": [], "TRL": []}
        for number in range(options.steps + 1):
            for name, step in (("Lurker", ours), ("TRL", theirs)):
                started = time.perf_counter()
                step(number)
                if number:  # the first step warms up
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lines = [
        f"{options.prompts} prompts × {options.group} responses × {options.tokens} tokens, {options.model}, "
        f"vocabulary {options.vocabulary}, {options.threads} thread(s), {processor()}"
    ]
    for name, values in seconds.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        lines.append(f"{name}: {medians[name]:.2f} s a step, median of {len(values)} ({spread})")
    lines.append(f"TRL / Lurker: {medians['TRL'] / medians['Lurker']:.2f}")
    print("\n".join(lines), flush=True)  # noqa: T201 - a benchmark's output


def prompt_texts(n: int) -> list[str]:
    """Distinct prompts of about 30 words."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, 30)) for _ in range(n)]


def written_model(folder: Path, spec: str, vocabulary: int) -> CausalModel:
    """A random model, saved where both sides load it from; its vocabulary is that of a real writer."""
    tokenizer = train_tokenizer([" ".join(WORDS)], 400)
    model = build_causal(spec, (), 0, 0, tokenizer)
    model.model.resize_token_embeddings(vocabulary, mean_resizing=False)
    save(model.model, tokenizer, folder)
    return model


def our_step(folder: Path, model: CausalModel, texts: list[str], options: Any) -> Any:
    """A function that does one step of ours."""
    path = str(folder / "model")
    policy, writer = load_policy(None, path), load_policy(None, path)  # type: ignore[arg-type]
    writer.model.eval().requires_grad_(False)
    n_separator = len(prompt_tokens(policy, "", 0))
    for one in (policy, writer):
        assert TokenLoss(one.model, one.tokenizer.pad_token_id, n_separator).is_packed
    network, reference = (ResponseLogits(one.model, is_packed=True) for one in (policy, writer))
    config = AgentConfig(
        learning_rate=1e-4,
        steps=options.steps + 1,
        prompts_per_step=options.prompts,
        group_size=options.group,
        max_new_tokens=options.tokens,
        kl_weight=0.02,
    )
    prompts = Prompts([str(n) for n in range(len(texts))], texts, [prompt_tokens(policy, text, 256) for text in texts])
    scale = WriterScale(reward_mean=0.0, reward_spread=1.0, log_length_mean=0.0, log_length_spread=1.0)
    step = AgentStep(network, reference, policy, length_judge(), prompts, [], scale, config, lambda: (0.0, 0.5))
    optimiser = torch.optim.AdamW(policy.model.parameters(), lr=1e-4, fused=True)
    steps = step.epoch_steps(0)

    def run(number: int) -> None:
        policy.model.train()
        optimiser.zero_grad()
        loss, _ = step.loss(network, steps[number], steps[number])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
        optimiser.step()
        assert step.step_figures()["n_tokens"] > 0.95 * options.tokens

    return run


def length_judge() -> Judge:
    """Characters of a response: a reward that costs nothing."""

    def rewards(_: Any, responses: Any) -> Any:
        return np.array([len(one) / 100 for one in responses])

    return Judge("length", lambda prompts, a, b: rewards(prompts, a) - rewards(prompts, b), rewards)


def their_step(folder: Path, texts: list[str], options: Any) -> Any:
    """A function that does one step of TRL's trainer: sampling, loss, gradient and update."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    n_rows = options.prompts * options.group
    arguments = GRPOConfig(
        output_dir=str(folder / "trl"),
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        report_to=[],
        disable_tqdm=True,
        per_device_train_batch_size=n_rows,
        num_generations=options.group,
        max_completion_length=options.tokens,
        max_steps=options.steps + 1,
        learning_rate=1e-4,
        beta=0.02,
        logging_strategy="no",
        save_strategy="no",
    )
    counts: list[float] = []

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        counts.append(sum(map(len, completion_ids)) / len(completion_ids))
        return [len(one) / 100 for one in completions]

    trainer = GRPOTrainer(
        model=str(folder / "model"),
        reward_funcs=reward,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": texts}),
    )
    trainer.create_optimizer()
    batches = iter(trainer.get_train_dataloader())
    trainer.current_gradient_accumulation_steps = 1

    def run(number: int) -> None:
        trainer.model.train()
        trainer.optimizer.zero_grad()
        trainer.training_step(trainer.model, next(batches), n_rows)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.state.global_step += 1
        trainer._step = number + 1
        assert counts[-1] > 0.95 * options.tokens and len(counts) == number + 1

    return run


if __name__ == "__main__":
    main()
