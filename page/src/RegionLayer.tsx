// The regions on an image or above curves: chosen, moved, pulled and drawn with the mouse, a finger, or the keyboard.

import type { Frame } from "./frame";
import { Pencil } from "./Pencil";
import { RegionShape } from "./RegionShape";
import type { Kind, Region, Shape } from "./regions";

export interface RegionLayerProps {
  frame: Frame;
  regions: Region[];
  /** The kind that is being drawn, if any. */
  tool?: Kind;
  chosen?: string;
  /** How far an arrow key moves: one pixel of an image, or one channel. */
  step: number;
  onChoose: (name: string | undefined) => void;
  /** Without it nothing can be changed; without a region it goes. */
  onChange?: (name: string, region: Region | undefined) => void;
  onDrawn?: (shape: Shape | undefined) => void;
}

export function RegionLayer(props: RegionLayerProps) {
  const { regions, tool } = props;
  return (
    <g className="regions" role="group" aria-label="regions">
      {regions.map((region) => (
        <RegionShape key={region.name} {...props} region={region} />
      ))}
      {tool && <Pencil key={tool} {...props} tool={tool} />}
    </g>
  );
}
