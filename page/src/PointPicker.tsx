// Which point is looked at: the latest one, or one that was chosen; with the points before and after it.

import { choose, useChosen } from "./chosen";
import { useLive } from "./live";

/** `shown`: the number of the point that is on the screen. */
export function PointPicker({ shown }: { shown: number | undefined }) {
  const { point, of } = useChosen();
  const latest = useLive((live) => (of === null || of === live.run ? live.latest : null));
  const isLatest = point === "latest";
  const to = (number: number): void => choose({ point: number });
  return (
    <div className="picker" role="group" aria-label="point">
      <button
        type="button"
        aria-label="the point before"
        disabled={shown === undefined || shown <= 1}
        onClick={() => to(shown! - 1)}
      >
        ‹
      </button>
      <output>{shown === undefined ? "no point" : `point ${shown}`}</output>
      <button
        type="button"
        aria-label="the next point"
        disabled={shown === undefined || isLatest || shown === latest}
        onClick={() => to(shown! + 1)}
      >
        ›
      </button>
      <button type="button" aria-pressed={isLatest} title="follow the scan" onClick={() => choose({ point: "latest" })}>
        latest
      </button>
    </div>
  );
}
