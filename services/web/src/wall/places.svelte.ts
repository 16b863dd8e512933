// The names of wards and agencies and the shapes of the wards: read once, tried again until they are there.
import type { Feature, MultiPolygon, Polygon } from 'geojson';
import { feature } from 'topojson-client';
import type { GeometryCollection, Topology } from 'topojson-specification';
import { read, type CityName, type Directory } from '../api/client';
import type { Language } from '../shell/language.svelte';

export type WardShape = Feature<Polygon | MultiPolygon, { code: string }>;
type WardMap = Topology<{ wards: GeometryCollection<{ code: string }> }>;

const AGAIN_MS = 3_000;

export class Places {
  shapes = $state.raw<readonly WardShape[]>([]);
  #names = $state.raw<ReadonlyMap<string, CityName>>(new Map());

  /** Reads until it has everything or the returned function is called. */
  start(): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stopped = false;
    const attempt = async (): Promise<void> => {
      try {
        const [directory, map] = await Promise.all([read('/ioc/v1/directory'), read('/ioc/v1/wards.topojson')]);
        if (!stopped) this.#take(directory, map as unknown as WardMap);
      } catch {
        if (!stopped) timer = setTimeout(() => void attempt(), AGAIN_MS);
      }
    };
    void attempt();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }

  /** What a code means; the code itself where the city's folder does not say. */
  name(code: string, language: Language): string {
    return this.#names.get(code)?.[language] ?? code;
  }

  #take(directory: Directory, map: WardMap): void {
    this.#names = new Map([...directory.wards, ...directory.agencies].map(({ code, name }) => [code, name]));
    this.shapes = feature(map, map.objects.wards).features as WardShape[];
  }
}
