"""Where a training starts on these data: the recipe of its task, for `gnn train` and `gnn tune`."""

from __future__ import annotations

from gnn.data import Data
from gnn.link_recipes import link_recipe, unsupervised_recipe
from gnn.link_split import SHARES as SHARES_OF_LINKS
from gnn.recipes import Recipe, recipe_for
from gnn.temporal_recipes import temporal_recipe
from gnn.temporal_split import SHARES as SHARES_IN_TIME
from sampling.graph.collection import GraphCollection

__all__ = ["starting_recipe"]


def starting_recipe(
    task: str, conv: str, data: Data, num_layers: int | None = None, *, temporal: bool = False
) -> Recipe:
    """Settings for what the user leaves out, the shares of a split among them.

    Args:
        task: a key of `gnn.tasks.TASKS`.
        conv: a convolution.
        data: the graph, or the collection of graphs.
        num_layers: where it is not the recipe's own.
        temporal: whether time is respected.

    Raises:
        InputError: there is no such convolution.
    """
    if isinstance(data, GraphCollection):
        return recipe_for(conv, data, num_layers, task)
    if temporal:
        return _split(temporal_recipe(conv, data, num_layers, task), SHARES_IN_TIME)
    if task == "link-prediction":
        return _split(link_recipe(conv, data, num_layers), SHARES_OF_LINKS)
    if task == "unsupervised":
        return unsupervised_recipe(conv, data, num_layers)
    return recipe_for(conv, data, num_layers, task)


def _split(recipe: Recipe, shares: tuple[float, float, float]) -> Recipe:
    return Recipe(recipe.model, {**recipe.train, "split": shares})
