// What is done to a drawing of curves: by the wheel and by fingers, and by windows that change.

import type uPlot from "uplot";

import { colorsAt, type Colors } from "./look";

/** Follow the size of the element, the wheel and fingers above the curves, and light or dark. */
export function watch(made: uPlot, element: HTMLElement, colors: Colors): () => void {
  const sizes = new ResizeObserver(() => {
    const { clientWidth: width, clientHeight: height } = element;
    if (width > 0 && height > 0 && (width !== made.width || height !== made.height)) {
      made.setSize({ width, height });
    }
  });
  sizes.observe(element);
  followWheel(made);
  followFingers(made);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const redraw = (): void => {
    Object.assign(colors, colorsAt(element));
    made.redraw(false);
  };
  dark.addEventListener("change", redraw);
  const theme = new MutationObserver(redraw);
  theme.observe(document.documentElement, { attributes: true });
  return () => {
    sizes.disconnect();
    theme.disconnect();
    dark.removeEventListener("change", redraw);
  };
}

function followWheel(made: uPlot): void {
  const zoom = (event: WheelEvent): void => {
    event.preventDefault();
    const { min, max } = made.scales["x"]!;
    const middle = made.posToVal(event.clientX - made.over.getBoundingClientRect().left, "x");
    const by = event.deltaY < 0 ? 0.85 : 1 / 0.85;
    show(made, middle - (middle - min!) * by, middle + (max! - middle) * by);
  };
  made.over.addEventListener("wheel", zoom, { passive: false });
}

/** One finger moves the axis where a part of it is seen, two stretch it; up and down they move the page. */
function followFingers(made: uPlot): void {
  const fingers = new Map<number, number>();
  made.over.style.touchAction = "pan-y";
  made.over.addEventListener("pointerdown", ({ pointerType, pointerId, clientX }) => {
    if (pointerType === "touch" && fingers.size < 2) {
      fingers.set(pointerId, clientX);
    }
  });
  made.over.addEventListener("pointermove", ({ pointerId, clientX }) => {
    if (!fingers.has(pointerId)) {
      return;
    }
    const { left, width } = made.over.getBoundingClientRect();
    const values = [...fingers.values()].map((place) => made.posToVal(place - left, "x"));
    fingers.set(pointerId, clientX);
    const places = [...fingers.values()].map((place) => place - left);
    // What was under the fingers stays there.
    const { min, max } = made.scales["x"]!;
    const one = places.length > 1 ? (values[1]! - values[0]!) / (places[1]! - places[0]!) : (max! - min!) / width;
    const first = values[0]! - one * places[0]!;
    if (Number.isFinite(first) && one > 0) {
      show(made, first, first + one * width);
    }
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"] as const) {
    made.over.addEventListener(end, ({ pointerId }) => fingers.delete(pointerId));
  }
}

/** Show a part of the axis, as long as it is wanted, and within what there is. */
function show(made: uPlot, from: number, to: number): void {
  const [first, last] = [made.data[0][0]!, made.data[0].at(-1)!];
  const length = Math.min(to - from, last - first);
  const min = Math.min(Math.max(from, first), last - length);
  made.setScale("x", { min, max: min + length });
}
