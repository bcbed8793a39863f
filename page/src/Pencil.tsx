// What draws a region: a rectangle or a range while the button is held, a polygon vertex by vertex.

import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";

import { fromScreen, toScreen, type Frame } from "./frame";
import { outline, placeOf } from "./outline";
import type { RegionLayerProps } from "./RegionLayer";
import { drawn, isTiny, rounded, type Kind, type Point, type Shape } from "./regions";

/** Pixels of the screen: what is smaller is a click, what is nearer is meant. */
const LEAST = 4;
const NEAR = 10;

export function Pencil({ frame, tool, onDrawn }: RegionLayerProps & { tool: Kind }) {
  const ground = useRef<SVGRectElement>(null);
  const [at, setAt] = useState<Point>();
  const placed = useRef<Point[]>([]); // a click may come before the last one is drawn
  const points = placed.current;
  const place = (next: Point[], now: Point | undefined): void => {
    placed.current = next;
    setAt(now && [...now]);
  };
  useEffect(() => ground.current?.focus({ preventScroll: true }), []);

  const close = (): void => {
    const vertices = placed.current;
    if (tool === "polygon" && vertices.length >= 3) {
      onDrawn?.(rounded({ type: tool, x: vertices.map(([x]) => x), y: vertices.map(([, y]) => y) }));
    }
  };
  const down = (event: PointerEvent<SVGElement>): void => {
    event.stopPropagation();
    if (event.button !== 0) {
      return;
    }
    const point = fromScreen(frame, placeOf(event));
    const points = placed.current;
    const first = points[0] && toScreen(frame, points[0]);
    if (tool === "polygon" && first && points.length >= 3 && distance(first, placeOf(event)) < NEAR) {
      close();
      return;
    }
    const last = points.at(-1);
    if (tool === "polygon" && last && distance(toScreen(frame, last), placeOf(event)) < LEAST) {
      return; // the second of a double click, which closes it
    }
    event.currentTarget.setPointerCapture(event.pointerId);
    place(tool === "polygon" ? [...points, point] : [point], point);
  };
  const up = (event: PointerEvent<SVGElement>): void => {
    const [first] = placed.current;
    if (tool === "polygon" || !first) {
      return;
    }
    const shape = drawn(tool, first, fromScreen(frame, placeOf(event)));
    place([], undefined);
    if (!isTiny({ ...shape, x: shape.x.map((x) => x * frame.x[1]), y: shape.y.map((y) => y * frame.y[1]) }, LEAST)) {
      onDrawn?.(shape);
    }
  };
  const press = (event: KeyboardEvent): void => {
    if (event.key === "Escape") {
      onDrawn?.(undefined);
    } else if (event.key === "Enter" && tool === "polygon" && placed.current.length > 0) {
      close();
    } else if (event.key === "Enter") {
      onDrawn?.(inTheMiddle(frame, tool));
    } else if (event.key === "Backspace") {
      place(placed.current.slice(0, -1), at);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const sketch =
    tool === "polygon"
      ? {
          type: tool,
          x: [...points, at ?? []].flatMap(([x]) => x ?? []),
          y: [...points, at ?? []].flatMap(([, y]) => y ?? []),
        }
      : points[0] && at && drawn(tool, points[0], at);
  return (
    <>
      {sketch && points.length > 0 && <path className="casing" d={outline(frame, sketch)} />}
      {sketch && points.length > 0 && <path className="sketch" d={outline(frame, sketch)} />}
      {tool === "polygon" && points.map((point, number) => <Dot key={number} place={toScreen(frame, point)} />)}
      <rect
        className="ground"
        ref={ground}
        width={frame.width}
        height={frame.height}
        tabIndex={0}
        role="button"
        aria-label={`Draw a ${tool}: Enter puts one in the middle, Escape leaves it`}
        onPointerDown={down}
        onPointerMove={(event) => setAt(fromScreen(frame, placeOf(event)))}
        onPointerUp={up}
        onDoubleClick={close}
        onKeyDown={press}
      />
    </>
  );
}

function Dot({ place: [x, y] }: { place: Point }) {
  return <circle className="dot" cx={x} cy={y} r={4} />;
}

/** A region in the middle of what is seen, a quarter as large. */
export function inTheMiddle(frame: Frame, type: Kind): Shape {
  const { width, height } = frame;
  const [first, last] = [0.375, 0.625].map((part) => fromScreen(frame, [part * width, part * height])) as [
    Point,
    Point,
  ];
  if (type !== "polygon") {
    return drawn(type, first, last);
  }
  const { x, y } = drawn("rectangle", first, last);
  return { type, x: [x[0]!, x[1]!, x[1]!, x[0]!], y: [y[0]!, y[0]!, y[1]!, y[1]!] };
}

function distance([x, y]: Point, [otherX, otherY]: Point): number {
  return Math.hypot(x - otherX, y - otherY);
}
