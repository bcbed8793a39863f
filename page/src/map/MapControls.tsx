// The controls of a map: which one, compared with which, in which colours.

import { memo, useState, type ReactNode } from "react";
import { MdAdsClick, MdChevronLeft, MdChevronRight, MdHighlightAlt, MdTimeline } from "react-icons/md";

import { useLive } from "../live";
import { useScan } from "../measured";
import type { MapAbout } from "../server";
import type { Shade } from "../shade";
import { ShadeControls } from "../ShadeControls";
import type { Tool } from "./MapOverlay";
import type { Comparison, MapOptions } from "./use_shown_map";

const COMPARISONS: Record<Comparison, string> = {
  one: "one map",
  difference: "minus another",
  ratio: "divided by another",
  rgb: "red, green, blue",
  previous: "minus the scan before",
  beside: "beside the scan before",
};
const TOOLS: Record<Tool, [icon: ReactNode, name: string]> = {
  point: [<MdAdsClick />, "choose a point: click; drag moves the map"],
  line: [<MdTimeline />, "profile along a line: drag"],
  rectangle: [<MdHighlightAlt />, "histogram and mean of a rectangle: drag"],
};
/** From so many maps on there is a field to find one by a part of its name. */
const MANY = 20;

export interface MapControlsProps {
  maps: MapAbout[];
  id: string | null;
  options: Partial<MapOptions>;
  shade: Shade;
  tool: Tool;
  onMap: (id: string) => void;
  onTool: (tool: Tool) => void;
  setOptions: (options: Partial<MapOptions>) => void;
}

export function MapControls({ maps, id, options, shade, tool, onMap, onTool, setOptions }: MapControlsProps) {
  const [isOpen, setIsOpen] = useState(false);
  const { comparison = "one", second = null, third = null } = options;
  const isOfTwo = comparison === "difference" || comparison === "ratio" || comparison === "rgb";
  return (
    <div className="controls" data-unseen>
      <div className="controls-row">
        <MapChoice label="map" maps={maps} id={id} onChoose={onMap} />
        <div className="pointer" role="radiogroup" aria-label="what the mouse does">
          {Object.entries(TOOLS).map(([name, [icon, about]]) => (
            <button
              key={name}
              type="button"
              role="radio"
              aria-checked={tool === name}
              aria-label={about}
              title={about}
              onClick={() => onTool(name as Tool)}
            >
              {icon}
            </button>
          ))}
        </div>
        <button type="button" aria-expanded={isOpen} onClick={() => setIsOpen(!isOpen)}>
          Compare and colours
        </button>
      </div>
      {isOpen && (
        <div className="controls-row" data-testid="more controls">
          <label>
            <span>show</span>
            <select
              value={comparison}
              onChange={({ target }) => setOptions({ comparison: target.value as Comparison })}
            >
              {Object.entries(COMPARISONS).map(([value, name]) => (
                <option key={value} value={value}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          {isOfTwo && <MapChoice label={comparison === "rgb" ? "green" : "with"} maps={maps} id={second} onChoose={(second) => setOptions({ second })} />}
          {comparison === "rgb" && <MapChoice label="blue" maps={maps} id={third} onChoose={(third) => setOptions({ third })} />}
          <Monitor monitor={options.monitor ?? null} onChoose={(monitor) => setOptions({ monitor })} />
          <ShadeControls shade={shade} onChange={(shade) => setOptions({ shade })} />
          <Check name="path of the scan" isOn={options.hasPath ?? false} onChange={(hasPath) => setOptions({ hasPath })} />
          <Check name="equal lengths" isOn={options.isEqual ?? true} onChange={(isEqual) => setOptions({ isEqual })} />
        </div>
      )}
    </div>
  );
}

function Check({ name, isOn, onChange }: { name: string; isOn: boolean; onChange: (isOn: boolean) => void }) {
  return (
    <label className="check">
      <input type="checkbox" checked={isOn} onChange={({ target }) => onChange(target.checked)} />
      <span>{name}</span>
    </label>
  );
}

interface MapChoiceProps {
  label: string;
  maps: MapAbout[];
  id: string | null;
  onChoose: (id: string) => void;
}

const MapChoice = memo(
  function MapChoice({ label, maps, id, onChoose }: MapChoiceProps) {
    const [part, setPart] = useState("");
    const found = maps.filter((map) => map.id === id || `${map.stage} ${map.label}`.toLowerCase().includes(part));
    const stages = [...new Set(found.map(({ stage }) => stage))];
    const step = (by: number): void => {
      const next = found[found.findIndex((map) => map.id === id) + by];
      if (next) {
        onChoose(next.id);
      }
    };
    return (
      <span className="choice">
        <label>
          <span>{label}</span>
          <select value={id ?? ""} onChange={({ target }) => onChoose(target.value)}>
            {id === null && <option value="">{maps.length > 0 ? "choose…" : "no map yet"}</option>}
            {stages.map((stage) => (
              <optgroup key={stage} label={stage}>
                {found
                  .filter((map) => map.stage === stage)
                  .map((map) => (
                    <option key={map.id} value={map.id}>
                      {map.label}
                    </option>
                  ))}
              </optgroup>
            ))}
          </select>
        </label>
        {maps.length > 1 && (
          <>
            <button type="button" className="icon" aria-label={`the ${label} before`} onClick={() => step(-1)}>
              <MdChevronLeft />
            </button>
            <button type="button" className="icon" aria-label={`the next ${label}`} onClick={() => step(1)}>
              <MdChevronRight />
            </button>
          </>
        )}
        {maps.length >= MANY && (
          <input
            type="search"
            size={8}
            placeholder={`${maps.length} maps`}
            aria-label={`find a ${label}`}
            onChange={({ target }) => setPart(target.value.toLowerCase())}
          />
        )}
      </span>
    );
  },
  (before, now) => before.maps === now.maps && before.id === now.id && before.label === now.label,
);

function Monitor({ monitor, onChoose }: { monitor: string | null; onChoose: (name: string | null) => void }) {
  const run = useLive((live) => live.run);
  const scalars = useScan().data?.header.scalars ?? [];
  return (
    <label>
      <span>divided by</span>
      <select value={monitor ?? ""} disabled={run === null} onChange={({ target }) => onChoose(target.value || null)}>
        <option value="">no monitor</option>
        {[...new Set([...scalars.map(({ name }) => name), ...(monitor === null ? [] : [monitor])])].map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}
