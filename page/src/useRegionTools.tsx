// The regions of a tile: the layer on which they are drawn, and the bar that has their names.

import { useState, type ReactNode } from "react";

import { choose, useChosen } from "./chosen";
import type { Frame } from "./frame";
import { RegionBar } from "./RegionBar";
import { RegionLayer } from "./RegionLayer";
import { freeName, type Kind, type Region, type Shape } from "./regions";
import type { Regions } from "./useRegions";

/** How regions lie on what is shown, where that is not as the analysis takes them: in pixels. */
export interface Scaled {
  /** How far an arrow key moves. */
  step: number;
  shown: (region: Region) => Region;
  stored: <S extends Shape>(shape: S) => S;
  /** What a region is in words. */
  say?: (region: Region) => string;
}

const PIXELS: Scaled = { step: 1, shown: (region) => region, stored: (shape) => shape };

export interface RegionTools {
  isDrawing: boolean;
  layer: (frame: Frame) => ReactNode;
  bar: ReactNode;
}

/** The tools for regions of these kinds; none where no stage has such regions. */
export function useRegionTools(all: Regions | undefined, kinds: Kind[], scaled: Scaled = PIXELS): RegionTools {
  const [tool, setTool] = useState<Kind>();
  const chosen = useChosen(({ region }) => region) ?? undefined;
  const drawable = all?.kinds.filter((kind) => kinds.includes(kind)) ?? [];
  if (!all || drawable.length === 0) {
    return { isDrawing: false, layer: () => null, bar: null };
  }
  const { readOnly, reason, put, undo } = all;
  const regions = all.regions.filter(({ type }) => kinds.includes(type));
  const onChoose = (name: string | undefined): void => choose({ region: name ?? null });
  const finish = (shape: Shape | undefined): void => {
    setTool(undefined);
    if (shape) {
      const name = freeName(all.regions, shape.type === "range" ? "range" : "region");
      put(name, { ...scaled.stored(shape), name });
      onChoose(name);
    }
  };
  return {
    isDrawing: tool !== undefined,
    layer: (frame) => (
      <RegionLayer
        frame={frame}
        regions={regions.map(scaled.shown)}
        tool={tool}
        chosen={chosen}
        step={scaled.step}
        onChoose={onChoose}
        onChange={readOnly ? undefined : (name, changed) => put(name, changed && scaled.stored(changed))}
        onDrawn={finish}
      />
    ),
    bar: (
      <RegionBar
        kinds={drawable}
        regions={regions}
        tool={tool}
        chosen={chosen}
        readOnly={readOnly}
        reason={reason}
        say={scaled.say}
        onTool={setTool}
        onChoose={onChoose}
        onChange={(name, changed) => {
          put(name, changed);
          onChoose(changed?.name);
        }}
        onUndo={undo}
      />
    ),
  };
}
