"""Errors of VitaNexus: one root, one subclass an area. Each docstring says what the operator should do."""


class VitaNexusError(Exception):
    """Anything VitaNexus refuses or cannot do. The message names the field or part, its value, and the next step."""


class InvalidRecordError(VitaNexusError):
    """A record cannot be used. Correct the named field at its source and send the record again.

    `reason` is a stable machine-readable code, `field` the path of the offending field ("" for the whole record).
    """

    def __init__(self, reason: str, field: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field


class SourceError(VitaNexusError):
    """A source file is missing or is not what its name promises. Check the path and the file's header line."""


class StorageError(VitaNexusError):
    """PostgreSQL refused or is away. Check `vitanexus status` and the server's log, then try again."""


class LeaseLostError(StorageError):
    """Another owner holds the partition. The process that sees this must exit at once: it has been fenced."""


class PlacementError(VitaNexusError):
    """Partitions cannot be moved as asked. `vitanexus shards list` shows the shards and what each holds."""


class StreamError(VitaNexusError):
    """The broker is away, or its log no longer holds the offsets we stand at. Check the broker and its retention."""


class TopicsChangedError(StreamError):
    """A topic is no longer what the shards were built for. Restore it: more partitions would change members' owners."""


class ModelError(VitaNexusError):
    """A model file is missing, damaged or of another format. Train it again with `vitanexus train`."""


class SettingsError(VitaNexusError):
    """A setting is missing or malformed. Correct the named VITANEXUS_ variable or the line of configs/*.toml."""


class StackError(VitaNexusError):
    """A part of the local stack did not start or has died. Read the log file the message names."""


class HccError(VitaNexusError):
    """A member, diagnosis or table cannot be used for risk adjustment: correct the value that is named."""


class AuditError(VitaNexusError):
    """The record of a read cannot be made, so it is refused. Check PostgreSQL and the disk of the audit folder."""


class JobError(VitaNexusError):
    """A job was not taken, or Ray does not know it. Check the address of Ray Jobs and submit the run again."""


class ManifestError(VitaNexusError):
    """Manifests cannot be rendered or read. Correct the value, overlay or file that is named."""
