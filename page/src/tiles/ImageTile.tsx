import type { TileProps } from "./tile";

export function ImageTile(_: TileProps) {
  return <p className="empty">not built yet</p>;
}
