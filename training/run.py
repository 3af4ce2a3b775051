import signal, sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent / "code"))
from medsam_planner.lab.training.config import read_config
from medsam_planner.lab.training.loop import train
from medsam_planner.errors import OperationCancelledError
class P:
    is_cancelled = False
    def update(self, stage, done, total):
        if done % 20 == 0:
            print(time.strftime("%H:%M:%S"), done, stage, flush=True)
p = P()
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *a: setattr(p, "is_cancelled", True))
    try:
        train(read_config(Path(sys.argv[1])), resume="--resume" in sys.argv, progress=p)
    except OperationCancelledError as e:
        print(e)
