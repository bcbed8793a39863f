// A map that is looked at: its picture, what lies over it, and what is read from it.

import { memo, useMemo, useState } from "react";

import { figure } from "../curves";
import { nearestPoint, pixelAt, stepOf, type Grid, type Pair, type Points } from "../maps";
import { MapOverlay, type MapOverlayProps } from "./MapOverlay";
import { Picture, type PictureProps } from "./Picture";

export interface MapViewProps
  extends Omit<MapOverlayProps, "marks" | "onClick" | "onHover">,
    Omit<PictureProps, "isStill" | "children"> {
  /** The number of the point that is chosen. */
  chosen: number | null;
  onChoose: (seqNum: number) => void;
}

export const MapView = memo(function MapView({ shown, rgb, shade, domain, isEqual, chosen, onChoose, ...overlay }: MapViewProps) {
  const [hover, setHover] = useState<number | null>(null);
  const latest = useMemo(() => latestOf(shown), [shown]);
  const isGrid = "nx" in shown;
  const scale = useMemo<Pair>(() => (isGrid ? [1, 1] : [extent(shown.x), extent(shown.y ?? [])]), [shown, isGrid]);
  const indexAt = (at: Pair): number | undefined =>
    isGrid ? pixelAt(shown, at) : nearestPoint(shown, at, scale);
  const choose = (at: Pair): void => {
    const index = indexAt(at);
    const seqNum = index === undefined ? undefined : shown.seqNums?.[index];
    if (seqNum !== undefined && seqNum > 0) {
      onChoose(seqNum);
    }
  };
  const size: Pair = isGrid ? [stepOf(shown.x), stepOf(shown.y)] : [0, 0];
  const markOf = (index: number | undefined, kind: "chosen" | "latest" | "hover") =>
    index === undefined || index < 0 ? [] : [{ at: positionOf(shown, index), size, kind }];
  const marks = [
    ...markOf(latest, "latest"),
    ...markOf(chosen === null ? undefined : indexOf(shown, chosen), "chosen"),
    ...markOf(hover ?? undefined, "hover"),
  ];
  return (
    <>
      <Picture shown={shown} rgb={rgb} shade={shade} domain={domain} isEqual={isEqual} isStill={overlay.tool !== "point"}>
        <MapOverlay {...overlay} marks={marks} onClick={choose} onHover={(at) => setHover(at && (indexAt(at) ?? null))} />
      </Picture>
      <p className="reading" data-testid="reading">
        <Reading shown={shown} index={hover} latest={latest} chosen={chosen} />
      </p>
    </>
  );
});

/** Where the mouse is, or the chosen point, or else the latest one: its position, its value and its number. */
function Reading({ shown, index, latest, chosen }: { shown: Grid | Points; index: number | null; latest?: number; chosen: number | null }) { // prettier-ignore
  const at = index ?? (chosen === null ? latest : indexOf(shown, chosen));
  if (at === undefined || at < 0 || at >= shown.values.length) {
    return <>move over the map to read it; click to see what was measured there</>;
  }
  const [x, y] = positionOf(shown, at);
  const { xAxis, yAxis, unit, seqNums } = shown;
  const number = seqNums?.[at];
  const value = shown.values[at]!;
  return (
    <>
      <span>
        {xAxis.name} <b>{figure(x)}</b> {xAxis.unit}
      </span>
      {yAxis && (
        <span>
          {yAxis.name} <b>{figure(y)}</b> {yAxis.unit}
        </span>
      )}
      <span>
        {shown.label} <b>{Number.isNaN(value) ? "none" : figure(value)}</b> {Number.isNaN(value) ? "" : unit}
      </span>
      <span>{number !== undefined && number > 0 ? <>point {number}</> : "not measured"}</span>
      <span className="about">{index === null ? (chosen === null ? "latest" : "chosen") : ""}</span>
    </>
  );
}

export function positionOf(shown: Grid | Points, index: number): Pair {
  return "nx" in shown
    ? [shown.x[index % shown.nx]!, shown.y[Math.floor(index / shown.nx)]!]
    : [shown.x[index]!, shown.y?.[index] ?? 0];
}

export function indexOf({ seqNums }: Grid | Points, seqNum: number): number | undefined {
  if (!seqNums) {
    return undefined;
  }
  if (seqNums[seqNum - 1] === seqNum) {
    return seqNum - 1; // as most scans are
  }
  const index = Array.prototype.indexOf.call(seqNums, seqNum);
  return index < 0 ? undefined : index;
}

/** The index of the point that was measured last. */
function latestOf({ seqNums }: Grid | Points): number | undefined {
  let [latest, greatest]: [number | undefined, number] = [undefined, 0];
  for (let at = 0; at < (seqNums?.length ?? 0); at++) {
    if (seqNums![at]! > greatest) {
      [latest, greatest] = [at, seqNums![at]!];
    }
  }
  return latest;
}

function extent(values: ArrayLike<number>): number {
  let [least, greatest] = [Infinity, -Infinity];
  for (let at = 0; at < values.length; at++) {
    least = Math.min(least, values[at]!);
    greatest = Math.max(greatest, values[at]!);
  }
  return greatest > least ? greatest - least : 1;
}
