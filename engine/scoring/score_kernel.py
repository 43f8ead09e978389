"""The kernel of the health score: from what is known of members to score, category, cost, NEWS2 and effects.

One function for the stream, the batches and the API, so that a member's score has the same bits in each. Each component
says what it says in its own module; here they meet, member by member, without a pass over memory between them.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.domain.curves import on_curve
from engine.scoring import behavior, clinical, commercial, ensemble, vitals
from engine.scoring.hcc.kernels import MAX_VARIABLES

NO_SCORE = -1
BASE, CLINICAL, PHYSIOLOGY, WEARABLES, NEWS2, COMMERCIAL = range(6)
"""The components, as columns of `Scored.components`."""
Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


class Fitted(NamedTuple):
    """What models and rules fix.

    `reference` are the predicted costs of the reference population at `percentiles`; `expected`, `weight`, `knots`,
    `log_hazards` and `history_sd` are those of `ensemble.Weights`; the rest is of `ScoringRules`.
    """

    reference: Reals
    percentiles: Reals
    expected: Reals
    weight: float
    knots: Reals
    log_hazards: Reals
    history_sd: float
    diseases: clinical.Tables
    commercial: commercial.Tables
    floors: Reals
    news2_high: int
    news2_critical: int
    minimum_days: int


class Known(NamedTuple):
    """What is known of members, a row each.

    Shapes: base_cost [n, 3] (mean, lower, upper; dollars); age [n] (years), male [n] (1, 0, or NaN where it is not
    known), both as base risk has them; heard [n], whether anything but age and sex is known; month and days [n,
    behavior.COMPONENTS] 30-day features of the wearables and the days with readings; forecast [n] (steps a day of the
    coming week, NaN without); vital_value and vital_time [n, vitals.VITALS]; ccs [n, 2] (condition categories, see
    `clinical`); commercial [n], whether `commercial` speaks in its place, with metal [n] (of METALS), hhs_ccs [n, 3]
    (condition categories) and rxcs [n] (drug classes as bits); hazard [n] (log hazard of physiology, NaN without);
    observed_days [n] since care has been known; as_of_us [n].
    """

    base_cost: Reals
    age: Reals
    male: Reals
    heard: NDArray[np.bool_]
    month: Reals
    days: Integers
    forecast: Reals
    vital_value: Reals
    vital_time: Integers
    ccs: NDArray[np.uint64]
    commercial: NDArray[np.bool_]
    metal: Integers
    hhs_ccs: NDArray[np.uint64]
    rxcs: Integers
    hazard: Reals
    observed_days: Integers
    as_of_us: Integers


class Scored(NamedTuple):
    """Scores by member. `cost` [n, 3]: mean, lower, upper in dollars; `category` is NO_SCORE where score and cost are
    NaN; `components` [n, 6] says which took part.

    `effects` [n, behavior.COMPONENTS], `physiology` [n] and `disease` [n] are log factors on cost as given, 0 where
    there is none; `hccs` [n, 2] are those of `clinical`, `hhs_hccs` [n, 3] those of `commercial`, and `raf` [n] is the
    risk score of whichever speaks.
    """

    score: Reals
    category: Integers
    cost: Reals
    news2: Integers
    effects: Reals
    physiology: Reals
    disease: Reals
    hccs: NDArray[np.uint64]
    hhs_hccs: NDArray[np.uint64]
    raf: Reals
    components: NDArray[np.bool_]


@njit(cache=True, nogil=True)
def score(known: Known, fitted: Fitted, out: Scored) -> None:
    """Scores of all members into `out`. A member's does not depend on who is scored beside."""
    scratch, room = np.empty(MAX_VARIABLES, np.int64), np.empty(ensemble.CONTEXT)
    healthy, well, one = fitted.diseases.healthy, fitted.commercial.healthy, commercial.room_for_one()
    said = np.empty(3)  # effects of disease, physiology and wearables, in the order in which they are added
    for i in range(len(known.age)):
        age, male, worn = known.age[i], known.male[i], out.effects[i]
        years = np.int64(age) if age == age else 0
        low, high = known.ccs[i, 0], known.ccs[i, 1]
        female, raf, said[0] = 1 if male == 0 else 0, 0.0, np.nan
        out.hhs_hccs[i, :] = 0
        if known.commercial[i]:
            low, high, own, metal = np.uint64(0), np.uint64(0), known.hhs_ccs[i], known.metal[i]
            if own[0] | own[1] | own[2] == 0 and known.rxcs[i] == 0:
                raf = well[metal, female, min(max(years, 0), clinical.OLDEST)] / 1000.0
            else:
                raf, said[0] = commercial.risk(own, known.rxcs[i], years, female, metal, fitted.commercial, one)
                out.hhs_hccs[i] = one.hccs[0]
        elif low | high == 0:  # most: the model's tables are many arrays to hand over
            raf = healthy[female, min(max(years, 0), clinical.OLDEST)]
        else:
            low, high, raf, said[0] = clinical.risk(low, high, years, female, fitted.diseases, scratch)
        said[1] = ensemble.physiology_effect(
            known.hazard[i], age, male, known.base_cost[i, 0], fitted.expected, fitted.weight, room
        )
        behavior.log_relative_costs(
            known.month[i], known.days[i], known.forecast[i], fitted.knots, fitted.log_hazards, worn
        )
        said[2], whole = behavior.together(worn)
        share = ensemble.combine(known.base_cost[i], said, known.observed_days[i], fitted.history_sd, out.cost[i])
        aggregate = vitals.news2(known.vital_value[i], known.vital_time[i], known.as_of_us[i])
        bounded = said[2] / whole if whole != 0 else 1.0
        for k in range(len(worn)):
            worn[k] = worn[k] * bounded * share if worn[k] == worn[k] else 0.0
        out.disease[i] = said[0] * share if said[0] == said[0] else 0.0
        out.physiology[i] = said[1] * share if said[1] == said[1] else 0.0
        out.hccs[i, 0], out.hccs[i, 1], out.raf[i], out.news2[i] = low, high, raf, aggregate
        heard = known.heard[i] or aggregate >= 0
        out.components[i, BASE], out.components[i, NEWS2] = True, aggregate >= 0
        for k in range(len(said)):
            out.components[i, CLINICAL + k] = said[k] == said[k]
            heard |= said[k] == said[k]
        out.components[i, COMMERCIAL] = known.commercial[i] and out.components[i, CLINICAL]
        out.components[i, CLINICAL] &= not known.commercial[i]
        if heard or known.observed_days[i] >= fitted.minimum_days:
            out.score[i], out.category[i] = _placed(out.cost[i, 0], aggregate, fitted)
        else:
            out.score[i], out.category[i] = np.nan, NO_SCORE
            out.cost[i, :] = np.nan


@njit(cache=True, nogil=True, inline="always")
def _placed(cost: float, aggregate: int, fitted: Fitted) -> tuple[float, int]:
    """Score and category of a predicted cost and a NEWS2 aggregate."""
    value = 1.0 + 99.0 * on_curve(cost, fitted.reference, fitted.percentiles)
    if aggregate >= fitted.news2_critical:
        value = max(value, fitted.floors[2])
    elif aggregate >= fitted.news2_high:
        value = max(value, fitted.floors[1])
    category = 0
    for floor in fitted.floors:
        category += value >= floor
    return value, category
