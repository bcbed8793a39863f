// Values as pixels.

import { HeatmapMesh } from "@h5web/lib";
import { memo, type ComponentProps } from "react";

import ndarray from "./ndarray";

const ONE = ndarray(Float32Array.of(0), [1, 1]);

/**
 * A HeatmapMesh whose program stays.
 *
 * Its material is another one for all new values, and the program of the shader goes with the last material that has
 * it: a second mesh, which is not seen, keeps it from being compiled for each image.
 */
export function Heatmap(props: ComponentProps<typeof HeatmapMesh>) {
  return (
    <>
      <Keeper scaleType={props.scaleType} />
      <HeatmapMesh {...props} />
    </>
  );
}

const Keeper = memo(function Keeper({ scaleType }: Pick<ComponentProps<typeof HeatmapMesh>, "scaleType">) {
  return <HeatmapMesh values={ONE as never} domain={[0, 1]} colorMap="Greys" scaleType={scaleType} scale={[0, 0, 0]} />;
});
