// One region: it is chosen, moved, pulled at its corners or ends, and its vertices come and go.

import { useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import { fromScreen, toScreen } from "./frame";
import { outline, placeOf } from "./outline";
import type { RegionLayerProps } from "./RegionLayer";
import {
  described,
  handlesOf,
  labelAt,
  moved,
  stretched,
  withoutVertex,
  withVertex,
  type Point,
  type Region,
} from "./regions";

const ARROWS: Record<string, Point> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function RegionShape({ frame, region, chosen, step, tool, onChoose, onChange }: RegionLayerProps & { region: Region }) {
  const [draft, setDraft] = useState<Region>();
  const held = useRef<{ at: Point; region: Region; handle?: number }>();
  const shown = draft ?? region;
  const isChosen = chosen === region.name;
  const isFixed = !onChange || tool !== undefined;
  const finish = (): void => {
    held.current = undefined;
    if (draft) {
      onChange?.(region.name, draft);
      setDraft(undefined);
    }
  };
  const take = (event: PointerEvent<SVGElement>, from = region, handle?: number): void => {
    event.stopPropagation();
    if (event.button !== 0 || tool) {
      return;
    }
    onChoose(region.name);
    if (!isFixed) {
      event.currentTarget.setPointerCapture(event.pointerId);
      held.current = { at: fromScreen(frame, placeOf(event)), region: from, handle };
    }
  };
  const pull = (event: PointerEvent<SVGElement>): void => {
    if (held.current) {
      const { at, region: before, handle } = held.current;
      const to = fromScreen(frame, placeOf(event));
      setDraft(handle === undefined ? moved(before, to[0] - at[0], to[1] - at[1]) : stretched(before, handle, to));
    }
  };
  const press = (event: KeyboardEvent<SVGElement>, handle?: number): void => {
    const arrow = ARROWS[event.key];
    if (event.key === "Escape") {
      held.current = undefined;
      setDraft(undefined);
      onChoose(undefined);
    } else if (event.key === "Enter" || event.key === " ") {
      onChoose(region.name);
    } else if (isFixed) {
      return;
    } else if (event.key === "Delete" || event.key === "Backspace") {
      onChange(
        region.name,
        handle !== undefined && region.type === "polygon" ? withoutVertex(region, handle) : undefined,
      );
    } else if (arrow) {
      const by = step * (event.shiftKey ? 10 : 1);
      const [dx, dy] = [arrow[0] * by, arrow[1] * by * Math.sign(frame.y[1])];
      const end = handle ?? (event.altKey ? (region.type === "range" ? 1 : 2) : undefined);
      const from = end === undefined ? undefined : handlesOf(shown)[end];
      setDraft(from ? stretched(shown, end!, [from[0] + dx, from[1] + dy]) : moved(shown, dx, dy));
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const gestures = { onPointerMove: pull, onPointerUp: finish, onLostPointerCapture: finish, onKeyUp: finish };
  const [left, top] = toScreen(frame, labelAt(shown));
  return (
    <g className={`region ${isChosen ? "chosen" : ""} ${isFixed ? "fixed" : ""}`} data-region={region.name}>
      <path className="casing" d={outline(frame, shown)} />
      <path
        className="body"
        d={outline(frame, shown)}
        tabIndex={0}
        role="button"
        aria-pressed={isChosen}
        aria-label={`${region.name}, ${shown.type}, ${described(shown)}`}
        onPointerDown={(event) => take(event)}
        onKeyDown={(event) => press(event)}
        onFocus={() => onChoose(region.name)}
        {...gestures}
      />
      <text x={region.type === "range" ? left + 4 : left} y={region.type === "range" ? 14 : top - 6}>
        {region.name}
      </text>
      {isChosen &&
        !isFixed &&
        handlesOf(shown).map((point, handle) => {
          const [x, y] = toScreen(frame, point);
          return (
            <circle
              key={handle}
              className="handle"
              cx={x}
              cy={region.type === "range" ? frame.height / 2 : y}
              r={6}
              tabIndex={0}
              role="button"
              aria-label={`${region.type === "polygon" ? "vertex" : region.type === "range" ? "end" : "corner"} ${handle + 1} of ${region.name}`}
              onPointerDown={(event) => take(event, shown, handle)}
              onDoubleClick={() => region.type === "polygon" && onChange(region.name, withoutVertex(region, handle))}
              onKeyDown={(event) => press(event, handle)}
              {...gestures}
            />
          );
        })}
      {isChosen &&
        !isFixed &&
        !draft &&
        middlesOf(shown).map((point, after) => {
          const [x, y] = toScreen(frame, point);
          return (
            <circle
              key={after}
              className="middle"
              cx={x}
              cy={y}
              r={4}
              onPointerDown={(event) => {
                event.stopPropagation();
                onChange(region.name, withVertex(region, after, point));
              }}
            >
              <title>one more vertex</title>
            </circle>
          );
        })}
    </g>
  );
}

function middlesOf(region: Region): Point[] {
  const points = region.type === "polygon" ? handlesOf(region) : [];
  return points.map(([x, y], at) => {
    const [nextX, nextY] = points[(at + 1) % points.length]!;
    return [(x + nextX) / 2, (y + nextY) / 2];
  });
}
