// The map of the scan: it grows while it is looked at, and a click says which point the other tiles show.

import { useEffect, useMemo, useState, type KeyboardEvent } from "react";

import { choose, useChosen } from "../chosen";
import { labelled } from "../curves";
import { useLive } from "../live";
import { MapControls } from "../map/MapControls";
import type { Tool } from "../map/MapOverlay";
import { indexOf, MapView } from "../map/MapView";
import { Measurement } from "../map/Measurement";
import { useShownMap, type MapOptions } from "../map/use_shown_map";
import { statisticsOf, tableOf, type Grid, type Pair, type Points, type Statistics } from "../maps";
import { useScan } from "../measured";
import { Plot } from "../plot/Plot";
import type { Shade } from "../shade";
import type { TileProps } from "./tile";

const SHADE: Shade = { colorMap: "Viridis", scale: "linear", low: 0, high: 100 };
const DIFFERENCE: Shade = { ...SHADE, colorMap: "RdBu" };

export function MapTile({ options, setOptions, describe }: TileProps<MapOptions>) {
  const { comparison = "one" } = options;
  const isDifference = comparison === "difference" || comparison === "previous";
  const shade = options.shade ?? (isDifference ? DIFFERENCE : SHADE);
  const { maps, about, shown, beside, rgb, domain, isStale, reason } = useShownMap(options, shade);
  const [tool, setTool] = useState<Tool>("point");
  const [drawn, setDrawn] = useState<[Pair, Pair] | null>(null);
  const { point, of, map } = useChosen();
  const path = usePath(options.hasPath ?? false);
  const title = shown ? labelled(shown.label, shown.unit) : "Map";
  useEffect(() => describe({ title, table: shown && (() => tableOf(shown)) }), [title, shown, describe]);
  const onMap = (id: string): void => {
    choose({ map: id });
    if (options.map != null) {
      setOptions({ map: null });
    }
  };
  const statistics = useMemo(() => shown && statisticsOf(shown.values), [shown]);
  const isLine = shown && !("nx" in shown) && !shown.y;
  const common = {
    shade,
    domain,
    isEqual: options.isEqual ?? true,
    tool,
    drawn,
    onDraw: setDrawn,
    path,
    chosen: point === "latest" ? null : point,
    onChoose: choosePoint,
  };
  return (
    <div className="map-tile">
      <MapControls
        maps={maps?.maps ?? NONE}
        id={about?.id ?? null}
        options={options}
        shade={shade}
        tool={tool}
        onMap={onMap}
        onTool={(tool) => (setTool(tool), setDrawn(null))}
        setOptions={setOptions}
      />
      {reason && shown && <p className="note">{reason}</p>}
      <div className="map-and-measurement">
        {shown && !isLine ? (
          <div
            className={isStale ? "map stale" : "map"}
            tabIndex={0}
            role="application"
            aria-label={`map of ${title}, ${seen(shown, statistics!)}; the arrow keys choose a point`}
            data-testid="map"
            data-number={statistics!.count}
            onKeyDown={(event) => step(event, shown, point === "latest" ? latestOf(of) : point)}
          >
            <div className="map-of-scan">
              <MapView shown={shown} rgb={rgb} {...common} />
              {isStale && of === null && <p className="caption">the scan before</p>}
              {statistics!.count === 0 && <p className="cover">{nothing(shown)}</p>}
            </div>
            {beside && (
              <div className="map-of-scan" data-testid="scan before">
                <MapView shown={beside} {...common} chosen={null} path={undefined} onChoose={ignore} />
                <p className="caption">the scan before</p>
              </div>
            )}
          </div>
        ) : shown ? (
          <Line points={shown as Points} count={statistics!.count} />
        ) : (
          <Empty wanted={map} maps={maps?.maps.length} isGone={maps !== undefined && about === undefined} reason={reason} />
        )}
        {shown && drawn && !isLine && (
          <Measurement shown={shown} tool={tool} drawn={drawn} onClose={() => setDrawn(null)} />
        )}
      </div>
      {maps && maps.truncated > 0 && <p className="note">{maps.truncated} more maps are in Browse</p>}
    </div>
  );
}

const NONE: never[] = [];

function choosePoint(point: number): void {
  choose({ point });
}

/** The number of the latest point of a run, where that goes on. */
function latestOf(of: string | null): number | null {
  const { run, latest } = useLive.getState();
  return of === null || of === run ? latest : null;
}

function ignore(): void {
  // The points of another scan are not chosen.
}

function usePath(isShown: boolean): { x: ArrayLike<number>; y: ArrayLike<number> } | undefined {
  const of = useChosen((chosen) => chosen.of);
  const { x, y } = useScan(of).data?.arrays ?? {};
  return useMemo(() => (isShown && x && y ? { x: x.values, y: y.values } : undefined), [isShown, x, y]);
}

function Line({ points, count }: { points: Points; count: number }) {
  const { x, values, label, unit, xAxis } = points;
  const curves = useMemo(() => [{ label, values: values as ArrayLike<number> }], [label, values]);
  return (
    <div className="map" data-testid="map" data-number={count}>
      <Plot label={label} x={x} xLabel={labelled(xAxis.name, xAxis.unit)} yLabel={labelled(label, unit)} curves={curves} />
    </div>
  );
}

interface EmptyProps {
  wanted: string | null;
  maps: number | undefined;
  isGone: boolean;
  reason: string | undefined;
}

function Empty({ wanted, maps, isGone, reason }: EmptyProps) {
  const { run, isThere } = useLive();
  if (!isThere) {
    return <p className="empty">The server is not there. The page goes on as soon as it is back.</p>;
  }
  if (wanted !== null && isGone && maps) {
    return (
      <div className="empty">
        <p>This scan has no map of that name any more.</p>
        <button type="button" onClick={() => choose({ map: null })}>
          Show the default map
        </button>
      </div>
    );
  }
  const text =
    reason ??
    (run === null
      ? "No scan yet. Start one, and its map appears here."
      : maps === undefined
        ? "Reading the map …"
        : "This analysis publishes no map yet. What there is, is in Browse.");
  return <p className="empty">{text}</p>;
}

/** Choose a neighbour of a point, by the keys. */
function step(event: KeyboardEvent, shown: Grid | Points, from: number | null): void {
  const steps: Record<string, Pair> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  if (event.key === "Escape") {
    choose({ point: "latest" });
    return;
  }
  const by = steps[event.key];
  if (!by || event.target !== event.currentTarget || !shown.seqNums) {
    return;
  }
  event.preventDefault();
  const at = (from === null ? undefined : indexOf(shown, from)) ?? 0;
  const width = "nx" in shown ? shown.nx : shown.values.length;
  const column = (at % width) + ("nx" in shown ? by[0] : by[0] + by[1]);
  const next = "nx" in shown ? at + by[0] + by[1] * width : column;
  const seqNum = shown.seqNums[next];
  if (column >= 0 && column < width && seqNum !== undefined && seqNum > 0) {
    choose({ point: seqNum });
  }
}

/** What a reader of the screen is told of a map. */
function seen(shown: Grid | Points, { count, smallest, largest }: Statistics): string {
  const size = "nx" in shown ? `${shown.nx} by ${shown.ny} pixels` : `${shown.values.length} points`;
  return count ? `${size}, values from ${smallest.toPrecision(3)} to ${largest.toPrecision(3)}` : `${size}, no value yet`;
}

function nothing({ seqNums }: Grid | Points): string {
  const isMeasured = seqNums !== undefined && Array.prototype.some.call(seqNums, (number: number) => number > 0);
  return isMeasured
    ? "No pixel has a value (all are NaN): look at the image, the log and the parameters."
    : "No pixel is measured yet.";
}
