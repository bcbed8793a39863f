// The controls of a shade: its colours, their scale, and the percentiles that they span.

import type { ColorMap } from "@h5web/lib";

import type { Scaling, Shade } from "./shade";

/** Colour maps that are even, and that colour-blind people can read. */
const COLOR_MAPS: ColorMap[] = ["Viridis", "Cividis", "Inferno", "Magma", "Greys", "RdBu"];
const SCALES: Record<Scaling, string> = { linear: "linear", log: "log", symlog: "symmetric log" };

export interface ShadeControlsProps {
  shade: Shade;
  onChange: (shade: Shade) => void;
}

export function ShadeControls({ shade, onChange }: ShadeControlsProps) {
  const { colorMap, scale, low, high } = shade;
  return (
    <>
      <label>
        <span>colours</span>
        <select value={colorMap} onChange={({ target }) => onChange({ ...shade, colorMap: target.value as ColorMap })}>
          {COLOR_MAPS.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        <span>scale</span>
        <select value={scale} onChange={({ target }) => onChange({ ...shade, scale: target.value as Scaling })}>
          {Object.entries(SCALES).map(([value, name]) => (
            <option key={value} value={value}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <fieldset className="percentiles" title="the percentiles of the values that the colours span">
        <legend>percentiles</legend>
        <Percent name="from" value={low} least={0} most={high} onChange={(low) => onChange({ ...shade, low })} />
        <span aria-hidden>–</span>
        <Percent name="to" value={high} least={low} most={100} onChange={(high) => onChange({ ...shade, high })} />
        <span>%</span>
      </fieldset>
    </>
  );
}

interface PercentProps {
  name: string;
  value: number;
  least: number;
  most: number;
  onChange: (value: number) => void;
}

function Percent({ name, value, least, most, onChange }: PercentProps) {
  const set = (text: string): void => {
    const number = Number(text);
    if (text !== "" && number >= least && number <= most) {
      onChange(number);
    }
  };
  return (
    <input
      key={value}
      type="number"
      aria-label={`percentile ${name}`}
      defaultValue={value}
      min={least}
      max={most}
      step="any"
      onBlur={({ target }) => set(target.value)}
      onKeyDown={({ key, currentTarget }) => key === "Enter" && set(currentTarget.value)}
    />
  );
}
