"""How a step holds its state: in a few vectors, not in the model's tree of arrays.

`hrnet18s_idih256` trains 2,044 arrays (parameters, statistics and two moments). Called with a tree
of them, a step takes longer on the host than on a GPU, and Adam, the norms and the choice between
old and new state run a kernel per array. So a step takes and returns dicts of vectors (`Vectors`)
and rebuilds the model's tree inside. Checkpoints, evaluation and people see trees
(`Layout.as_trees`).
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh

from harmony_jax.devices import mesh as meshes
from harmony_jax.training.freezing import parameter_name
from harmony_jax.training.optimizer import treatment
from harmony_jax.variables import Variables, split

# By platform; see `Vectors`.
_LAST_AXIS_FIRST = ("gpu",)
_JOINED_BELOW = {"tpu": 2**12}  # values


class TrainState(NamedTuple):
    """All that a step changes, as trees or as vectors (`Layout`).

    Attributes:
        step: steps done.
        halted: 0, or the step whose loss or gradient was not finite; from then on nothing
            changes, so the state stays the one that the failed step began with.
        variables: the model's.
        optimizer: its moments.
    """

    step: jax.Array
    halted: jax.Array
    variables: Variables
    optimizer: optax.OptState


class Vectors:
    """Converts a tree of arrays to a dict of few arrays, and back.

    Arrays of one type that are treated alike are joined end to end. The vector has the name of its
    first member, so an optimizer that goes by names treats it as it would each member. Arrays that
    are divided over devices stay apart, each under its own name.

    On a GPU, kernels lie in a vector with their last axis first, the order that cuDNN reads and
    writes; any other order costs a transposition per kernel and per gradient. On a TPU, whose
    memory is tiled, large arrays stay apart too: taking them out of a vector moves them twice.

    Args:
        tree: the arrays, or their shapes and types.
        mesh: where they will live.
        kind: of an array, by its name; arrays of different kinds are not joined.
    """

    def __init__(self, tree: nnx.State, mesh: Mesh, kind: Callable[[str], Hashable]):
        named, self._structure = jax.tree_util.tree_flatten_with_path(tree)
        platform = mesh.devices.flat[0].platform
        self._last_axis_first = platform in _LAST_AXIS_FIRST
        below = _JOINED_BELOW.get(platform, math.inf)
        self._shapes = [leaf.shape for _, leaf in named]
        self._members: dict[str, list[int]] = {}
        vectors: dict[Hashable, str] = {}
        for number, (path, leaf) in enumerate(named):
            name = parameter_name(path)
            if _placed(leaf, mesh).sharding.is_fully_replicated and math.prod(leaf.shape) < below:
                name = vectors.setdefault((kind(name), leaf.dtype), name)
            self._members.setdefault(name, []).append(number)

    def join(self, tree: nnx.State) -> dict[str, Any]:
        """The dict of a tree's arrays. What an optimizer masks in a tree is masked here too."""
        leaves = jax.tree.leaves(tree, is_leaf=_is_masked)

        def joined(members: list[int]) -> Any:
            first = leaves[members[0]]
            if len(members) == 1 or _is_masked(first):
                return first
            return jnp.concatenate([self._flat(leaves[number]) for number in members])

        return {name: joined(members) for name, members in self._members.items()}

    def separate(self, arrays: dict[str, Any]) -> nnx.State:
        """The tree of a dict's arrays, JAX's or NumPy's."""
        leaves: list[Any] = [None] * len(self._shapes)
        for name, members in self._members.items():
            array, start = arrays[name], 0
            for number in members:
                if len(members) == 1 or _is_masked(array):
                    leaves[number] = array
                    continue
                stop = start + math.prod(self._shapes[number])
                leaves[number] = self._shaped(array[start:stop], self._shapes[number])
                start = stop
        return jax.tree.unflatten(self._structure, leaves)

    def is_dict(self, node: Any) -> bool:
        """Whether a node of a tree is a dict with a value for each of these arrays."""
        return isinstance(node, dict) and node.keys() == self._members.keys()

    def _flat(self, leaf: jax.Array) -> jax.Array:
        if self._last_axis_first and leaf.ndim > 1:
            leaf = jnp.moveaxis(leaf, -1, 0)
        return leaf.ravel()

    def _shaped(self, part: Any, shape: tuple[int, ...]) -> Any:
        if self._last_axis_first and len(shape) > 1:
            return part.reshape(shape[-1:] + shape[:-1]).transpose(*range(1, len(shape)), 0)
        return part.reshape(shape)


class Layout:
    """The structure of a model and of its training's state, without arrays.

    Args:
        model: in training mode, concrete or abstract (`nnx.eval_shape`).
        frozen: patterns of parameters that the optimizer leaves as they are.

    Attributes:
        graph: the model's.
        params: how parameters are held, and all that the optimizer keeps for each of them.
        batch_stats: how running statistics are held.
        trees: shapes, types and shardings of the state as trees.
        vectors: the same of the state as a step takes it.
        as_vectors: converts the state from trees, on the mesh, to what a step takes.
    """

    def __init__(
        self,
        model: nnx.Module,
        optimizer: optax.GradientTransformation,
        mesh: Mesh,
        frozen: Sequence[str] = (),
    ):
        self._optimizer, self._mesh = optimizer, mesh
        self.graph, variables = split(model)
        self.params = Vectors(variables.params, mesh, lambda name: treatment(name, frozen))
        self.batch_stats = Vectors(variables.batch_stats, mesh, lambda _: None)
        zero: Any = jax.ShapeDtypeStruct((), jnp.int32)
        moments = jax.eval_shape(optimizer.init, variables.params)
        self.trees = _placed(TrainState(zero, zero, variables, moments), mesh)
        self.vectors = _placed(jax.eval_shape(self._join, self.trees), mesh)
        self.as_vectors: Callable[[TrainState], TrainState] = jax.jit(
            self._join, out_shardings=shardings_of(self.vectors)
        )

    def begin(self, model: nnx.Module) -> TrainState:
        """The state before the first step, on the mesh, from copies of a model's arrays.

        Args:
            model: with the same values in every process, not on the mesh yet.
        """
        variables = meshes.place(split(model)[1], shardings_of(self.trees.variables))
        start = jax.jit(self._optimizer.init, out_shardings=shardings_of(self.trees.optimizer))
        return self.state_at(0, variables, start(variables.params))

    def state_at(self, step: int, variables: Variables, optimizer_state: Any) -> TrainState:
        """The state after so many steps, for the next one, from trees of arrays on the mesh."""
        counts = np.int32(step), np.int32(0)
        done, halted = meshes.place(counts, meshes.replicated(self._mesh))
        return self.as_vectors(TrainState(done, halted, variables, optimizer_state))

    def as_trees(self, vectors: TrainState) -> TrainState:
        """The state as checkpoints have it: NumPy arrays, except those divided over devices.

        By way of the host, as a program with so many results would take long to compile.
        """
        # Copied: on a CPU, NumPy would see the memory that the next step writes into.
        host = jax.tree.map(lambda x: np.array(x) if x.is_fully_replicated else x, vectors)
        params, batch_stats = host.variables
        is_dict = self.params.is_dict
        return host._replace(
            variables=Variables(
                self.params.separate(params), self.batch_stats.separate(batch_stats)
            ),
            optimizer=_map_nodes(self.params.separate, is_dict, host.optimizer),
        )

    def _join(self, trees: TrainState) -> TrainState:
        params, batch_stats = trees.variables
        return trees._replace(
            variables=Variables(self.params.join(params), self.batch_stats.join(batch_stats)),
            optimizer=_map_nodes(self.params.join, _is_tree, trees.optimizer),
        )


def _map_nodes(change: Callable[[Any], Any], chosen: Callable[[Any], bool], tree: Any) -> Any:
    return jax.tree.map(lambda n: change(n) if chosen(n) else n, tree, is_leaf=chosen)


def _placed(state: Any, mesh: Mesh) -> Any:
    """Shapes and types with shardings: vectors are whole, other arrays may be divided."""

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        whole = len(leaf.shape) == 1
        sharding = meshes.replicated(mesh) if whole else meshes.state_shardings(leaf, mesh)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(place, state)


def shardings_of(abstract: Any) -> Any:
    """The tree of the shardings that shapes and types come with."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)


def _is_tree(node: Any) -> bool:
    return isinstance(node, nnx.State)


def _is_masked(leaf: Any) -> bool:
    return isinstance(leaf, optax.MaskedNode)
