"""`PatchLoader`: the patches of subjects by index, and the epoch; both datasets are made of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from voxarray.core.errors import VoxarrayError
from voxarray.core.exhaustion import names_exhaustion
from voxarray.core.function_arguments import require_sampler, require_transform
from voxarray.core.html_table import html_table
from voxarray.geometry.selection import Shape3
from voxarray.image import Image
from voxarray.patches.batches import Patch, in_a_worker
from voxarray.patches.foreseen import Foreseen, Next, Place
from voxarray.patches.locations import LocationDistribution
from voxarray.patches.randomness import generator, seed_of
from voxarray.patches.samplers import PatchSampler
from voxarray.patches.subject_patches import KEPT, Reading
from voxarray.subject import Subject

_PLACES = 64
"""Places that were drawn ahead, at most."""


def _require_subjects(subjects: Any) -> None:
    """Refuse what is no sequence of subjects, before a loader does so after an hour.

    Raises:
        TypeError: Naming what was found instead.
    """
    if isinstance(subjects, (Mapping, str, bytes)) or not hasattr(subjects, "__getitem__"):
        hint = ": put it into a list" if isinstance(subjects, Subject) else ""
        raise TypeError(
            f"subjects are a sequence of subjects, such as [vx.Subject(t1=image)], and not "
            f"{_kind(subjects)}{hint}"
        )
    if not isinstance(subjects, (list, tuple)):
        return  # a cohort, or another sequence that makes its subjects when they are asked for
    if not subjects:
        raise TypeError("subjects are a sequence of at least one subject, and this one is empty")
    for number, item in enumerate(subjects):
        if not isinstance(item, Mapping) or isinstance(item, Image):
            hint = ": give it a name, vx.Subject(t1=image)" if isinstance(item, Image) else ""
            raise TypeError(
                f"subjects[{number}] is {_kind(item)}, and not a Subject or a dict of images{hint}"
            )


def _require_of_patches(transform: Any) -> None:
    """Refuse our own transforms: they take images, and a patch is a dict of tensors.

    Raises:
        TypeError: Naming where they belong. One that is called in a way of its own may be any
            function.
    """
    bases = [base for base in type(transform).__mro__ if "apply_transform" in vars(base)]
    if bases and type(transform).__call__ is vars(bases[-1]).get("__call__"):
        name = type(transform).__name__
        raise TypeError(
            f"{name} takes whole images, not patches: apply it before patches are drawn, "
            f"cohort.map({name}(...)).dataset(sampler), or give the dataset "
            f"[{name}(...)(subject) for subject in subjects]; both are lazy. transform= is a "
            'function of the dict of a patch, in which patch["t1"]["data"] is a tensor'
        )


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


class PatchLoader:
    """What both datasets are made of."""

    def __init__(
        self,
        subjects: Sequence[Any],
        sampler: PatchSampler,
        patches_per_image: int,
        transform: Callable[[Patch], Any] | None,
        seed: int,
    ) -> None:
        if patches_per_image < 1:
            raise ValueError(f"patches_per_image must be at least 1, got {patches_per_image}")
        _require_subjects(subjects)
        require_sampler(sampler)
        if transform is not None:
            require_transform(transform)
            _require_of_patches(transform)
        generator(seed, 0, 0)  # refuses a seed that is none
        self.sampler = sampler
        self.patches_per_image = patches_per_image
        self.transform = transform
        self.seed = seed
        self.reading = Reading(subjects)
        self._draws: OrderedDict[int, LocationDistribution] = OrderedDict()
        self._begin_to_foresee()
        # Shared memory: persistent workers see it when the main process begins an epoch.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_draws": OrderedDict(), "_foreseen": None, "_places": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin_to_foresee()

    def _begin_to_foresee(self) -> None:
        self._foreseen = Foreseen(self._place_ahead, self.reading.opened)
        self._places: dict[tuple[int, int], Place] = {}

    @property
    def epoch(self) -> int:
        """Which pass over the data is drawn; the same index gives another patch in each."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Begin another pass; to be called before the loader is asked for its iterator."""
        generator(self.seed, epoch, 0)
        self._epoch.fill_(epoch)

    @property
    def subjects(self) -> Sequence[Any]:
        """What patches are drawn from."""
        return self.reading.subjects

    @property
    def total(self) -> int:
        """Patches in an epoch."""
        return len(self.subjects) * self.patches_per_image

    @names_exhaustion
    def start(self, index: int) -> tuple[int, Shape3]:
        """Subject and first voxel of the patch of an index."""
        known = self._places.pop((self.epoch, index), None) if self._places else None
        if known is not None:
            return known
        number = index // self.patches_per_image
        draw = self._draws.get(number)
        if draw is None:
            draw = self._draws[number] = self._draw(number)
            while len(self._draws) > KEPT:
                self._draws.popitem(last=False)
        return number, draw.start(generator(self.seed, self.epoch, index))

    def _place_ahead(self, epoch: int, index: int) -> Place | None:
        """As `start`, for another thread: None unless patches of the subject were drawn before."""
        number = index // self.patches_per_image
        draw = self._draws.get(number)
        if draw is None or not draw.is_cheap:
            return None
        if len(self._places) > _PLACES:
            self._places.clear()  # nobody asked for them
        place = number, draw.start(generator(self.seed, epoch, index))
        self._places[epoch, index] = place
        return place

    def _draw(self, number: int) -> LocationDistribution:
        """Where patches of a subject are; of many subjects, an error names the one at fault."""
        subject = self.reading.subject(number)
        try:
            return self.sampler.draw(subject)
        except Exception as error:
            path = next(iter(subject.get_images_dict(intensity_only=False).values())).path
            where = f"subjects[{number}]" if path is None else str(path)
            if isinstance(error, VoxarrayError):
                error.path = error.path or where
            else:
                error.add_note(f"of {where}")
            raise

    @names_exhaustion
    def read(
        self,
        indices: Sequence[int],
        positions: Sequence[Place],
        upcoming: Callable[[], Sequence[tuple[int, Place | None]]] | None = None,
    ) -> list[Any]:
        """Patches of indices at places, transformed.

        Args:
            indices: Their indices.
            positions: Where they are.
            upcoming: Indices of those that will be read next, if that is known, and where they
                are, if they were drawn.
        """
        remote = max(
            (len(self.reading.reader(number).remote) for number, _ in positions), default=0
        )
        if remote > 1 or (remote and (upcoming is not None or len(indices) > 1)):

            def following() -> list[Next]:
                # The images of the first patch are read one after the other, too.
                known = [
                    (i, p, n == 0) for n, (i, p) in enumerate(zip(indices, positions, strict=True))
                ]
                later = [] if upcoming is None else upcoming()
                return [*known, *((index, place, 0) for index, place in later)]

            self._foreseen.follow(self.epoch, self.sampler.patch_size, following)
        shared = in_a_worker() and len(indices) > 1 and self.transform is None
        patches = self.reading.patches(positions, self.sampler.patch_size, shared=shared)
        if self.transform is None:
            return patches
        transform = self.transform
        return [self._transformed(transform, p, i) for p, i in zip(patches, indices, strict=True)]

    def _transformed(self, transform: Callable[[Patch], Any], patch: Patch, index: int) -> Any:
        """What the transform makes of a patch, with random numbers that depend on the index."""
        seed = seed_of(self.seed, self.epoch, index)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if hasattr(transform, "set_random_state"):
                transform.set_random_state(seed % (1 << 32))
            return transform(patch)

    def text(self, name: str) -> str:
        """What was asked for, in a line."""
        return (
            f"{name}(patches: {self.total}; subjects: {len(self.subjects)}; "
            f"sampler: {self.sampler!r}; seed: {self.seed})"
        )

    def html(self, name: str, **more: Any) -> str:
        """A table of what was asked for, for notebooks."""
        facts = {
            "patches": str(self.total),
            "subjects": str(len(self.subjects)),
            "patches_per_image": str(self.patches_per_image),
            "sampler": repr(self.sampler),
            "transform": repr(self.transform),
            "seed": str(self.seed),
            "epoch": str(self.epoch),
        }
        return html_table(name, {**facts, **more})
