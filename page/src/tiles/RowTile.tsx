// The row of a point: when and where it was measured, and all its readings.

import { useEffect, useState } from "react";

import { useChosen } from "../chosen";
import { figure } from "../curves";
import { useLive } from "../live";
import { usePoint } from "../measured";
import { PointPicker } from "../PointPicker";
import type { TileProps } from "./tile";

/** Of more readings than this some are looked for by name. */
const FEW = 12;

export function RowTile({ describe }: TileProps) {
  const { point: chosen, of } = useChosen();
  const { data, error } = usePoint(chosen, of);
  const hasRun = useLive(({ run }) => run !== null);
  const [sought, setSought] = useState("");
  useEffect(() => {
    const table = (): Record<string, ArrayLike<unknown>> => ({
      name: data?.row.map(({ name }) => name) ?? [],
      value: data?.row.map(({ value }) => value) ?? [],
      unit: data?.row.map(({ unit }) => unit ?? "") ?? [],
    });
    describe({ title: data ? `Readings of point ${data.seq_num}` : "Readings", table: data && table });
  }, [data, describe]);
  if (!data) {
    return (
      <p className="empty">
        {hasRun ? (error?.message ?? "…") : "The readings of a point are shown here when a scan has begun."}
      </p>
    );
  }
  const rows = data.row.filter(({ name }) => name.toLowerCase().includes(sought.toLowerCase()));
  return (
    <div className="point-tile">
      <div className="tools">
        <PointPicker shown={data.seq_num} />
        {data.row.length > FEW && (
          <input
            type="search"
            aria-label="find a reading"
            placeholder="find a reading"
            value={sought}
            onChange={({ target }) => setSought(target.value)}
          />
        )}
        <time className="said">{new Date(1000 * data.time).toLocaleString("sv-SE")}</time>
      </div>
      <div className="scrolled" tabIndex={0} role="region" aria-label="readings">
        <table className="row">
          <tbody>
            {rows.map(({ name, value, unit }) => (
              <tr key={name} className={name in data.position ? "position" : ""}>
                <th scope="row">{name}</th>
                <td title={String(value)}>{typeof value === "number" ? figure(value, 6) : String(value ?? "–")}</td>
                <td className="unit">{unit}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {rows.length === 0 && <p className="empty">No reading is called so.</p>}
      </div>
    </div>
  );
}
