// The tiles of a layout: on a wide window where they were put, on a narrow one below each other.

import "react-grid-layout/css/styles.css";

import { useEffect, useRef, useState } from "react";
import { GridLayout, type Layout as Places } from "react-grid-layout";

import { arrange, useLayout } from "./arranged";
import { changed, COLUMNS, ROWS, withoutTile, type Layout } from "./layouts";
import { TileFrame } from "./Tile";

/** Pixels between tiles; of a row at least; and of a window in which tiles are below each other. */
const GAP = 8;
const LEAST = 38;
const NARROW = 760;

export function Tiles() {
  const { layout } = useLayout();
  const place = useRef<HTMLDivElement>(null);
  const [{ width, height }, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const sizes = new ResizeObserver(([entry]) => {
      const { width, height } = entry!.contentRect;
      setSize({ width, height });
    });
    sizes.observe(place.current!);
    return () => sizes.disconnect();
  }, []);
  const tiles = [...layout.tiles].sort((a, b) => a.y - b.y || a.x - b.x);
  const frames = tiles.map((tile) => (
    <div key={tile.id} className="cell">
      <TileFrame
        tile={tile}
        onChange={(part) => arrange(changed(layout, tile.id, part))}
        onRemove={() => arrange(withoutTile(layout, tile.id))}
      />
    </div>
  ));
  const isNarrow = width < NARROW;
  return (
    <div className={isNarrow ? "tiles narrow" : "tiles"} ref={place} data-testid="tiles">
      {width > 0 && isNarrow && frames}
      {width > 0 && !isNarrow && (
        <GridLayout
          width={width}
          layout={layout.tiles.map(({ id, x, y, w, h }) => ({ i: id, x, y, w, h, minW: 2, minH: 2 }))}
          gridConfig={{
            cols: COLUMNS,
            rowHeight: Math.max(LEAST, (height - GAP) / ROWS - GAP),
            margin: [GAP, GAP],
            containerPadding: [GAP, GAP],
          }}
          dragConfig={{ enabled: true, handle: ".grip" }}
          resizeConfig={{ enabled: true, handles: ["se"] }}
          onDragStop={(places) => arrange(placed(layout, places))}
          onResizeStop={(places) => arrange(placed(layout, places))}
        >
          {frames}
        </GridLayout>
      )}
      {tiles.length === 0 && <p className="empty">This layout has no tiles: add one from the menu Layout.</p>}
    </div>
  );
}

function placed({ tiles }: Layout, places: Places): Layout {
  const at = new Map(places.map((place) => [place.i, place]));
  return {
    tiles: tiles.map((tile) => {
      const { x, y, w, h } = at.get(tile.id) ?? tile;
      return { ...tile, x, y, w, h };
    }),
  };
}
