// Regions on the screen: their outlines, and where the pointer is among them.

import type { PointerEvent } from "react";

import { toScreen, type Frame } from "./frame";
import { handlesOf, type Point, type Shape } from "./regions";

export function outline(frame: Frame, shape: Shape): string {
  if (shape.type === "range") {
    const [x0, x1] = shape.x.map((x) => toScreen(frame, [x, 0])[0]) as [number, number];
    return `M${x0},0H${x1}V${frame.height}H${x0}Z`;
  }
  return `M${handlesOf(shape)
    .map((point) => toScreen(frame, point).join())
    .join("L")}Z`;
}

/** Where in the drawing the pointer is. */
export function placeOf({ clientX, clientY, currentTarget }: PointerEvent<SVGElement>): Point {
  const { left, top } = (currentTarget.ownerSVGElement ?? currentTarget).getBoundingClientRect();
  return [clientX - left, clientY - top];
}
