"""What a caller can learn about runs while they train. No torch: a finished run is returned without waiting for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnlab.loggers.logger import Logger
    from bnlab.schema import RunConfig
    from bnlab.training.loop import Plan


class RunObserver:
    """Follows the training of runs; this one ignores everything. Subclass it and override what you need."""

    def on_warning(self, text: str) -> None:
        """Receive a warning, before training begins: a setting that is probably a mistake, an unusable checkpoint.

        Args:
            text: One to three lines. The run's log.txt gets them too.
        """

    def on_resumed(self, step: int) -> None:
        """Receive the step of the checkpoint from which interrupted runs continue, before training begins.

        Args:
            step: Optimizer steps made before the checkpoint was written.
        """

    def on_trouble(self, logger: str, text: str) -> None:
        """Receive what became of a logger that failed while a run is in training; the run goes on without it.

        Args:
            logger: The name of the logger, as in the setting ``loggers``.
            text: One to three lines. The run's log.txt gets them too.
        """

    def open_logger(self, config: "RunConfig", run_id: str, plan: "Plan") -> "Logger | None":  # noqa: ARG002
        """Return a logger for a run that is about to be trained, or None for no logger. It is closed when the run ends.

        Args:
            config: The settings of the run.
            run_id: The name of the run's folder.
            plan: At which steps the run is logged, evaluated and measured, and how many steps it has.
        """
        return None
