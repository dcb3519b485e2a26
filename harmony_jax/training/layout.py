"""How a step holds its state: few arrays, with the small ones laid end to end.

`hrnet18s_idih256` trains 2,044 arrays (parameters, statistics and two moments). As a tree of them a
call of the step takes longer on the host than on a GPU, and each array has kernels of its own for
Adam, norms and the choice between old and new. So steps take and give vectors (`Vectors`), and
build the model's tree inside. Checkpoints, evaluation and people see trees (`Layout.as_trees`).
"""

import math
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from harmony_jax.devices import mesh as meshes
from harmony_jax.models.channel_padding import pad_to, padded
from harmony_jax.training.freezing import parameter_name
from harmony_jax.variables import Variables

# By platforms; see `Vectors`.
_LAST_AXIS_FIRST = ("gpu",)
_JOINED_BELOW = {"tpu": 2**12}  # values


class TrainState(NamedTuple):
    """All that a step changes, as trees or as vectors (`Layout`).

    Attributes:
        step: steps done.
        halted: 0, or the step whose loss or gradient was not finite; from then on nothing
            changes, so that the state is the one that the failed step began with.
        variables: the model's.
        optimizer: its moments.
    """

    step: jax.Array
    halted: jax.Array
    variables: Variables
    optimizer: optax.OptState


class Vectors:
    """A tree's arrays as a dict of few, and the way back.

    Arrays that are whole on every device, of one type and treated alike, lie end to end in one
    vector, which has the name of the first of them: an optimizer that goes by names finds the same
    for the vector as for each of its members. Arrays that are divided over devices stay as they
    are, each under its own name.

    On a GPU kernels lie in a vector with their last axis first, as cuDNN takes and gives them:
    otherwise each would be transposed, and its gradient. On a TPU, whose memory is tiled, large
    arrays stay apart too: taking them out of a vector moves them twice.

    Statistics, biases and norms' scales of a network that pads its channels are held padded too:
    cut off one by one, each would take a kernel. The padding is 0, and stays so.

    Args:
        tree: the arrays, or their shapes and types.
        mesh: where they will live, as `meshes.state_shardings` says.
        treatment: by a name, what tells arrays apart that must not share a vector.
        padding: the paths of networks that pad their channels.
    """

    def __init__(
        self,
        tree: nnx.State,
        mesh: Mesh,
        treatment: Callable[[str], Hashable],
        padding: Sequence[str] = (),
    ):
        named, self._tree = jax.tree_util.tree_flatten_with_path(tree)
        self._shapes = [leaf.shape for _, leaf in named]
        self._held = list(self._shapes)  # the shapes in vectors
        padded_names = tuple(f"{path}." for path in padding)
        platform = mesh.devices.flat[0].platform
        self._last_first = platform in _LAST_AXIS_FIRST
        below = _JOINED_BELOW.get(platform, math.inf)
        self._apart: set[str] = set()
        self._members: dict[str, list[int]] = {}
        self.shardings: dict[str, NamedSharding] = {}
        vectors: dict[Hashable, str] = {}
        places = jax.tree.leaves(meshes.state_shardings(tree, mesh))
        for number, ((path, leaf), place) in enumerate(zip(named, places, strict=True)):
            name = parameter_name(path)
            if place.is_fully_replicated and math.prod(leaf.shape) < below:
                first = vectors.setdefault((treatment(name), leaf.dtype), name)
                if len(leaf.shape) == 1 and name.startswith(padded_names):
                    self._held[number] = (padded(leaf.shape[0]),)
            else:
                first = name
                self._apart.add(name)
            self._members.setdefault(first, []).append(number)
            self.shardings[first] = place

    def join(self, tree: nnx.State) -> dict[str, Any]:
        """The dict of the tree's arrays, padded or not.

        What an optimizer masks out of both stays masked.
        """
        leaves = jax.tree.leaves(tree, is_leaf=_is_masked)

        def joined(name: str) -> Any:
            members = [leaves[number] for number in self._members[name]]
            if name in self._apart or _is_masked(members[0]):
                return members[0]
            shapes = [self._held[number] for number in self._members[name]]
            return jnp.concatenate(
                [self._laid_out(leaf, shape) for leaf, shape in zip(members, shapes, strict=True)]
            )

        return {name: joined(name) for name in self._members}

    def separate(self, arrays: dict[str, Any]) -> nnx.State:
        """The tree of the dict's arrays, JAX's or NumPy's, those that are held padded still so."""
        leaves: list[Any] = [None] * len(self._shapes)
        for name, members in self._members.items():
            array, start = arrays[name], 0
            for number in members:
                if name in self._apart or _is_masked(array):
                    leaves[number] = array
                    continue
                shape = self._held[number]
                stop = start + math.prod(shape)
                leaves[number] = self._taken_out(array[start:stop], shape)
                start = stop
        return jax.tree.unflatten(self._tree, leaves)

    def cut(self, tree: nnx.State) -> nnx.State:
        """The tree without padding."""
        leaves, structure = jax.tree.flatten(tree, is_leaf=_is_masked)
        whole = [
            leaf if _is_masked(leaf) or leaf.shape == shape else leaf[: shape[0]]
            for leaf, shape in zip(leaves, self._shapes, strict=True)
        ]
        return jax.tree.unflatten(structure, whole)

    def _laid_out(self, leaf: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        if leaf.shape != shape:
            leaf = pad_to(leaf, *shape)
        if self._last_first and leaf.ndim > 1:
            leaf = jnp.moveaxis(leaf, -1, 0)
        return leaf.ravel()

    def _taken_out(self, part: Any, shape: tuple[int, ...]) -> Any:
        if self._last_first and len(shape) > 1:
            return part.reshape(shape[-1], *shape[:-1]).transpose(*range(1, len(shape)), 0)
        return part.reshape(shape)

    def is_dict(self, node: Any) -> bool:
        """Whether a node of a tree is a dict of such arrays, or of what stands for each."""
        return isinstance(node, dict) and node.keys() == self._members.keys()


class Layout:
    """The structure of a model and of its training's state, without arrays.

    Args:
        graph: of the model in training mode.
        variables: the model's, concrete or abstract.
        optimizer: of the parameters.
        mesh: where the state will live.
        treatment: of a parameter, by its name (`optimizer.treatment`).
        padding: the paths of the model's networks that pad their channels.

    Attributes:
        graph: the model's.
        params: how parameters are held, and all that the optimizer keeps for each of them.
        batch_stats: how running statistics are held.
        trees: shapes, types and shardings of the state as trees.
        vectors: the same of the state as a step takes it.
    """

    def __init__(
        self,
        graph: nnx.GraphDef,
        variables: Variables,
        optimizer: optax.GradientTransformation,
        mesh: Mesh,
        treatment: Callable[[str], Hashable],
        padding: Sequence[str] = (),
    ):
        self.graph, self._mesh = graph, mesh
        self.params = Vectors(variables.params, mesh, treatment, padding)
        self.batch_stats = Vectors(variables.batch_stats, mesh, lambda _: None, padding)
        zero: Any = jax.ShapeDtypeStruct((), jnp.int32)
        trees = TrainState(zero, zero, variables, jax.eval_shape(optimizer.init, variables.params))
        self.trees = _placed(trees, meshes.state_shardings(trees, mesh))
        vectors = jax.eval_shape(self._join, self.trees)
        self.vectors = _placed(vectors, self._shardings(vectors))

    def as_vectors(self, trees: TrainState) -> TrainState:
        """The state as a step takes it; arrays that are not joined are the same, not copies."""
        return self._joined(trees)

    def as_trees(self, vectors: TrainState) -> TrainState:
        """The state as checkpoints have it; arrays that are divided are the same, not copies.

        By way of the host: a program with so many results would take long to compile.
        """
        on_host = jax.tree.map(
            lambda leaf: np.asarray(leaf) if leaf.is_fully_replicated else leaf, vectors
        )
        return jax.tree.map(
            lambda leaf, place: leaf if isinstance(leaf, jax.Array) else meshes.place(leaf, place),
            self._separate(on_host),
            shardings_of(self.trees),
        )

    @cached_property
    def _joined(self) -> Callable[[TrainState], TrainState]:
        return jax.jit(self._join, out_shardings=shardings_of(self.vectors))

    def _join(self, trees: TrainState) -> TrainState:
        params, batch_stats = trees.variables
        return trees._replace(
            variables=Variables(self.params.join(params), self.batch_stats.join(batch_stats)),
            optimizer=jax.tree.map(
                lambda node: self.params.join(node) if _is_tree(node) else node,
                trees.optimizer,
                is_leaf=_is_tree,
            ),
        )

    def _separate(self, vectors: TrainState) -> TrainState:
        params, batch_stats = vectors.variables
        is_dict = self.params.is_dict

        def tree(held: Vectors, arrays: dict[str, Any]) -> nnx.State:
            return held.cut(held.separate(arrays))

        return vectors._replace(
            variables=Variables(tree(self.params, params), tree(self.batch_stats, batch_stats)),
            optimizer=jax.tree.map(
                lambda node: tree(self.params, node) if is_dict(node) else node,
                vectors.optimizer,
                is_leaf=is_dict,
            ),
        )

    def _shardings(self, vectors: TrainState) -> TrainState:
        whole: Any = meshes.replicated(self._mesh)
        is_dict = self.params.is_dict

        def of(node: Any) -> Any:
            if not is_dict(node):
                return whole
            masked = {name for name, array in node.items() if _is_masked(array)}
            return {
                name: node[name] if name in masked else place
                for name, place in self.params.shardings.items()
            }

        return TrainState(
            whole,
            whole,
            Variables(self.params.shardings, self.batch_stats.shardings),
            jax.tree.map(of, vectors.optimizer, is_leaf=is_dict),
        )


def _is_tree(node: Any) -> bool:
    return isinstance(node, nnx.State)


def _is_masked(leaf: Any) -> bool:
    return isinstance(leaf, optax.MaskedNode)


def _placed(state: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        shardings,
    )


def shardings_of(abstract: Any) -> Any:
    """The tree of the shardings that shapes and types come with."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)
