// What every kind of tile is given.

export interface TileProps<Options extends object = Record<string, unknown>> {
  /** The tile among the others of its layout. */
  id: string;
  /** What was chosen for this tile: kept in the layout. Any of it may be missing. */
  options: Partial<Options>;
  /** Choose something else for this tile. */
  setOptions: (options: Partial<Options>) => void;
  /** Say what is shown: its title, which is that of the tile, and what its table of numbers is, for an export. */
  describe: (description: Description) => void;
}

export interface Description {
  title: string;
  /** The columns of a CSV file of what is seen, made when it is asked for. */
  table?: () => Record<string, ArrayLike<unknown>>;
}
