import type { TileProps } from "./tile";

export function TrendTile(_: TileProps) {
  return <p className="empty">not built yet</p>;
}
