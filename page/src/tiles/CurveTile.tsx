import type { TileProps } from "./tile";

export function CurveTile(_: TileProps) {
  return <p className="empty">not built yet</p>;
}
