import type { TileProps } from "./tile";

export function RowTile(_: TileProps) {
  return <p className="empty">not built yet</p>;
}
