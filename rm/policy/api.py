"""What a notebook and the command line call: train a writer, open a policy, sample it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from lurker.arguments import as_list, as_path
from lurker.config import typed_values
from lurker.errors import CallError
from lurker.files import read_json
from lurker.pair_sets import PairSet, require_pair_set
from lurker.progress import progress, say
from lurker.report import Displayed, ResultTable
from lurker.workspace import AnyWorkspace, Workspace, as_workspace
from rm.models.ladder import LADDER, check_spec, require_reachable, slug
from rm.models.scorer import move_to_device
from rm.policy.causal import CausalModel, is_reward_model, known_policies
from rm.policy.causal import load_policy as load_model
from rm.policy.policy_folder import MODEL_FOLDER, RESULT, finished_policy, model_of_policy, policy_folder
from rm.policy.sample_file import (
    Samples,
    human_responses,
    prompts_of_pairs,
    require_sample_file,
    sample_to_file,
)
from rm.policy.sampling import (
    ENGINES,
    SamplingConfig,
    count_cut,
    fitting,
    require_same_tokens,
    sample_prompts,
    sample_with_vllm,
)
from rm.policy.show import show_policy
from rm.policy.writer import WriterRun, run_writer, writer_id
from rm.policy.writer_config import writer_config
from rm.training.identity import model_digest, n_posts_read, origin
from rm.training.run_folder import RUN_PREFIX, model_of_run
from rm.training.settings import as_settings


class Policy(Displayed):
    """A finished policy; its weights are read when it is sampled."""

    def __init__(self, workspace: Workspace, policy_id: str) -> None:
        self.workspace = workspace
        self.policy_id = policy_id

    @property
    def folder(self) -> Path:
        """The policy's folder."""
        return finished_policy(self.workspace, self.policy_id)

    @property
    def result(self) -> dict[str, Any]:
        """Facts about the training, held-out losses and what it copies, as in result.json."""
        return dict(read_json(self.folder / RESULT))

    @property
    def metrics(self) -> pl.DataFrame:
        """Training loss, learning rate and validation, one row per step."""
        return pl.read_ndjson(self.folder / "metrics.jsonl", infer_schema_length=None)

    def table(self) -> ResultTable:
        """How well it predicts held-out human responses; of an agent, the facts about its training."""
        tables = show_policy(self.workspace, self.policy_id).tables()
        return next((one for one in tables if one.title.startswith("Held-out")), tables[0])


def train_writer(
    pairs: PairSet,
    model: str = "scratch-1m",
    *,
    seed: int = 0,
    subreddits: Sequence[str] | str = (),
    policy_id: str | None = None,
    resume: bool = True,
    **writer_fields: Any,
) -> Policy:
    """Train a writer on the well-received responses of a pair set's training posts.

    The same call again resumes a writer that was interrupted and returns one that is finished.

    Args:
        pairs: pair set of Reddit's votes, whose responses are ranked by score beyond what time, thread and length
            foretell.
        model: SPEC: "scratch-10k" to "scratch-16m", a Hugging Face id or local folder of a causal language model, or
            "policy:ID", or "run:ID", whose layers are kept and whose words have to be learned.
        seed: of the initial weights and the order.
        subreddits: communities; all by default.
        policy_id: folder of the policy; made from the arguments by default.
        resume: False refuses a policy that exists.
        **writer_fields: fields of `rm.policy.writer_config.WriterConfig`, such as top_share=0.1.

    Raises:
        CallError: an argument is not possible, or the policy exists with other content.
        LurkerError: too few responses are left, or a test post was trained on.
    """
    workspace = require_pair_set(pairs).workspace
    name = slug(model.removeprefix("policy:").removeprefix(RUN_PREFIX)) if isinstance(model, str) else ""
    model = model_of_policy(workspace, model)
    if str(model).startswith(RUN_PREFIX):
        model = model_of_run(workspace, model)
    check_spec(model)
    if policy_id is None or not policy_folder(workspace, policy_id).exists():
        require_reachable(model, known_policies())
    kind = origin(model) if is_reward_model(model) else model
    config = WriterRun(
        pairs=pairs.name,
        model=model,
        train=writer_config(kind, seed, as_settings(writer_fields)),
        subreddits=tuple(as_list(subreddits, "subreddits")),
    )
    policy_id = policy_id or writer_id(config, name)
    run_writer(workspace, policy_id, config, resume=resume)
    return Policy(workspace, policy_id)


def load_policy(workspace: AnyWorkspace, policy_id: str) -> Policy:
    """A finished policy.

    Raises:
        CallError: there is no such policy; the message lists those that exist.
    """
    opened = as_workspace(workspace)
    return Policy(opened, finished_policy(opened, policy_id).name)


def sample(
    policy: Policy | str,
    prompts: PairSet | pl.DataFrame | Sequence[str],
    *,
    split: str = "test",
    n_prompts: int | None = None,
    out: Path | str | None = None,
    reference: str | None = None,
    with_human: bool = False,
    engine: Literal["transformers", "vllm"] = "transformers",
    workspace: AnyWorkspace | None = None,
    replace: bool = False,
    **fields: Any,
) -> Samples:
    """Draw responses from a policy; samples of a prompt depend on the seed and the prompt's id alone.

    Args:
        policy: a policy, or the SPEC of a language model.
        prompts: a pair set, whose posts of `split` are answered; a frame with prompt and optionally prompt_id and
            subreddit; or texts.
        split: of the pair set, or "all".
        n_prompts: answer the first prompts only, by hash of their post in a pair set.
        out: file to write, .parquet or .jsonl; an interrupted call goes on from its parts, and a Parquet file that
            the same call finished is read. Nothing is written when None.
        reference: SPEC of a policy whose log-probability of each sample is added.
        with_human: add people's responses to the posts of a pair set, up to n each, as source human.
        engine: "transformers", or "vllm" where it is installed.
        workspace: where `policy:ID` is looked up; that of the policy or pair set by default.
        replace: draw again where `out` holds samples that were drawn in another way; their rewards are lost.
        **fields: fields of `rm.policy.sampling.SamplingConfig`, such as n=64.

    Raises:
        CallError: an argument is not possible, `out` holds other samples, or vLLM is not installed.
    """
    opened = _workspace_of(policy, prompts, workspace)
    spec = f"policy:{policy.policy_id}" if isinstance(policy, Policy) else policy
    if engine not in ENGINES:
        raise CallError(f"The engine is one of {', '.join(ENGINES)}, got {engine!r}.")
    if with_human and not isinstance(prompts, PairSet):
        raise CallError("People's responses are known for the posts of a pair set only.", "Sample with `--pairs NAME`.")
    asked = _prompts(prompts, split, n_prompts)
    path = model_of_policy(opened, spec)
    source = Path(path).parent.name if Path(path).name == MODEL_FOLDER else slug(spec)
    model = _loaded(opened, spec)
    config = fitting(model, _config(path, fields))
    other = None if reference is None else _loaded(opened, reference)
    if other is not None:
        require_same_tokens(model, other)
    _say_what_is_read(model, path, asked, config)
    humans = human_responses(prompts, asked, config.n) if isinstance(prompts, PairSet) and with_human else None

    def draw(rows: pl.DataFrame) -> pl.DataFrame:
        if engine == "vllm":
            return sample_with_vllm(path, model, rows, config, source)
        return sample_prompts(model, rows, config, source, other)

    if out is None:
        with progress("Sampling", asked.height, "prompts"):
            drawn = draw(asked)
        return Samples(drawn if humans is None else pl.concat([drawn, humans]))
    described = {
        "policy": source,
        "weights": model_digest(path),
        "reference": reference,
        "reference's weights": None if reference is None else model_digest(model_of_policy(opened, reference)),
        "engine": engine,
    }
    path_out = require_sample_file(as_path(out, "The file"))
    return sample_to_file(draw, asked, config, path_out, described, humans, replace=replace)


def _workspace_of(policy: Policy | str, prompts: Any, workspace: AnyWorkspace | None) -> Workspace:
    if workspace is not None:
        return as_workspace(workspace)
    for owner in (policy, prompts):
        if isinstance(owner, Policy | PairSet):
            return owner.workspace
    raise CallError("The workspace of the policy is not known.", "Open it: `workspace=lurker.open(FOLDER)`.")


def _prompts(prompts: Any, split: str, n_prompts: int | None) -> pl.DataFrame:
    if isinstance(prompts, PairSet):
        return prompts_of_pairs(prompts, split, n_prompts)
    frame = prompts if isinstance(prompts, pl.DataFrame) else pl.DataFrame({"prompt": as_list(prompts, "prompts")})
    if frame.is_empty() or frame.schema.get("prompt") != pl.String:
        raise CallError("Prompts are texts, at least one.", "Name a pair set, or a list of texts.")
    if "prompt_id" not in frame.columns:
        frame = frame.with_columns(prompt_id=pl.int_range(pl.len()).cast(pl.String))
    if "subreddit" not in frame.columns:
        frame = frame.with_columns(subreddit=pl.lit(None, dtype=pl.String))
    return frame.select("prompt_id", "prompt", "subreddit").head(n_prompts or frame.height)


def _loaded(workspace: Workspace, spec: str) -> CausalModel:
    model = load_model(workspace, spec)
    move_to_device(model.model, model.n_parameters)
    return model


def _config(path: str, fields: dict[str, Any]) -> SamplingConfig:
    """The config with these fields; lengths that are not given are those that the policy was trained with.

    Raises:
        CallError: an unknown field or an invalid value.
    """
    values = typed_values(SamplingConfig, fields)
    result = Path(path).parent / RESULT
    trained = read_json(result) if path not in LADDER and result.exists() else {}
    own = {name: trained[name] for name in ("max_prompt_tokens", "max_new_tokens") if name in trained}
    try:
        return replace(SamplingConfig(), **(own | values))
    except ValueError as error:
        raise CallError(str(error)) from error


def _say_what_is_read(model: CausalModel, path: str, prompts: pl.DataFrame, config: SamplingConfig) -> None:
    n_cut = count_cut(model, prompts["prompt"].to_list(), config.max_prompt_tokens)
    if n_cut:
        say(f"{n_cut:,} of {prompts.height:,} prompts are cut to their first {config.max_prompt_tokens:,} tokens.")
    if n_read := n_posts_read(path, prompts["prompt_id"].to_list()):
        say(f"{n_read:,} of {prompts.height:,} posts were read when the policy, or one before it, was trained.")
