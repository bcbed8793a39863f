// Where a drawing lies on the screen: numbers of its axes to pixels and back. Both axes are straight lines.

import type { Point } from "./regions";

export interface Frame {
  /** The pixel of 0 on each axis, and how many pixels one is. */
  x: [zero: number, one: number];
  y: [zero: number, one: number];
  width: number;
  height: number;
}

export function toScreen({ x, y }: Frame, [atX, atY]: Point): Point {
  return [x[0] + atX * x[1], y[0] + atY * y[1]];
}

export function fromScreen({ x, y }: Frame, [left, top]: Point): Point {
  return [(left - x[0]) / x[1], (top - y[0]) / y[1]];
}

/** The frame in which two points are at two places. */
export function frameOf(points: [Point, Point], places: [Point, Point], width: number, height: number): Frame {
  const line = (axis: 0 | 1): [number, number] => {
    const one = (places[1][axis] - places[0][axis]) / (points[1][axis] - points[0][axis]);
    return [places[0][axis] - points[0][axis] * one, one];
  };
  return { x: line(0), y: line(1), width, height };
}

export function isSame(one: Frame, other: Frame): boolean {
  return (
    one.width === other.width &&
    one.height === other.height &&
    [...one.x, ...one.y].every((value, at) => value === [...other.x, ...other.y][at])
  );
}
