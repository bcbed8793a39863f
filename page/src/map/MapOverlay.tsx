// What lies over a map: where the scan went, the point that is chosen, and the line or rectangle that is drawn.

import { DataToHtml, Line, SelectionTool, SvgElement, SvgLine, SvgRect, useCanvasEvent, type Rect } from "@h5web/lib";
import { useRef } from "react";
import { Vector3 } from "three";

import type { Pair } from "../maps";

export type Tool = "point" | "line" | "rectangle";

export interface MapOverlayProps {
  tool: Tool;
  onClick: (at: Pair) => void;
  onHover: (at: Pair | null) => void;
  onDraw: (drawn: [Pair, Pair]) => void;
  drawn: [Pair, Pair] | null;
  path?: { x: ArrayLike<number>; y: ArrayLike<number> };
  /** The middle and the size of the chosen point, and of the latest one. */
  marks: { at: Pair; size: Pair; kind: "chosen" | "latest" | "hover" }[];
}

/** Pixels that the mouse may move in a click. */
const SLIP = 4;
/** Pixels of a mark, at least. */
const LEAST = 8;

export function MapOverlay({ tool, onClick, onHover, onDraw, drawn, path, marks }: MapOverlayProps) {
  const down = useRef<{ x: number; y: number }>();
  useCanvasEvent<"pointerdown", PointerEvent>("pointerdown", ({ sourceEvent: { clientX: x, clientY: y } }) => {
    down.current = { x, y };
  });
  useCanvasEvent<"click", PointerEvent>("click", ({ sourceEvent, dataPt }) => {
    const { x, y } = down.current ?? { x: 0, y: 0 };
    if (Math.hypot(sourceEvent.clientX - x, sourceEvent.clientY - y) <= SLIP) {
      onClick([dataPt.x, dataPt.y]);
    }
  });
  useCanvasEvent<"pointermove", PointerEvent>("pointermove", ({ dataPt }) => onHover([dataPt.x, dataPt.y]));
  useCanvasEvent<"pointerleave", PointerEvent>("pointerleave", () => onHover(null));
  return (
    <>
      {path && path.x.length > 1 && (
        <Line
          abscissas={path.x as number[]}
          ordinates={path.y as number[]}
          color="#ff4fa3"
          width={1.5}
          renderOrder={1} // over the pixels
          materialProps={{ depthTest: false }}
        />
      )}
      {tool !== "point" && (
        <SelectionTool onValidSelection={({ data: [from, to] }) => onDraw([pair(from), pair(to)])} validate={isDrawn}>
          {({ html }) => <SvgElement>{shape(tool, html)}</SvgElement>}
        </SelectionTool>
      )}
      {drawn && tool !== "point" && (
        <DataToHtml points={drawn.map(([x, y]) => new Vector3(x, y)) as [Vector3, Vector3]}>
          {(from, to) => <SvgElement>{shape(tool, [from, to])}</SvgElement>}
        </DataToHtml>
      )}
      {marks.map(({ at: [x, y], size: [w, h], kind }) => (
        <DataToHtml key={kind} points={[new Vector3(x - w / 2, y - h / 2), new Vector3(x + w / 2, y + h / 2)]}>
          {(from, to) => (
            <SvgElement>
              <SvgRect className={`mark ${kind}`} coords={grown(from, to)} data-testid={`mark ${kind}`} />
            </SvgElement>
          )}
        </DataToHtml>
      ))}
    </>
  );
}

function shape(tool: Tool, coords: Rect) {
  return tool === "line" ? (
    <SvgLine className="drawn" coords={coords} data-testid="drawn" />
  ) : (
    <SvgRect className="drawn" coords={coords} data-testid="drawn" />
  );
}

function pair({ x, y }: Vector3): Pair {
  return [x, y];
}

function isDrawn({ html: [from, to] }: { html: Rect }): boolean {
  return from.distanceTo(to) > SLIP;
}

/** A rectangle that can be seen, however small it is. */
function grown(from: Vector3, to: Vector3): Rect {
  const middle = from.clone().add(to).multiplyScalar(0.5);
  const half = [to.x - from.x, to.y - from.y].map((length) => Math.max(Math.abs(length), LEAST) / 2);
  return [
    new Vector3(middle.x - half[0]!, middle.y - half[1]!),
    new Vector3(middle.x + half[0]!, middle.y + half[1]!),
  ];
}
