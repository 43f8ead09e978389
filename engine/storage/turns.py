"""Advisory locks of PostgreSQL by which processes take turns. One number has one meaning, so all stand here."""

from enum import Enum, unique


@unique
class Turn(Enum):
    """What one process of a database does at a time; the value is the lock's number."""

    MONTHS = 0x7661_6E78  # making the monthly partitions of a time series
    MIGRATION = 0x7661_6E79
    RELAY = 0x7661_6E7A  # publishing the outbox: held as long as the relay's connection lives
    ROLLUP = 0x7661_6E7C  # summing up the days of a series, and dropping its old months
    MODEL_SETS = 0x7661_6E7B  # making a model set
