// The part of a viewer that is time and controls: passed on to the player of the scene, or kept until there is one.

/** @typedef {import("./live/player.js").Player} Player */

/** In a scene without live layers nothing here does anything: it lasts 0 seconds and has no controls. */
export class Playable extends EventTarget {
  /** null: the scene has none; undefined: not known yet. @type {Player | null | undefined} */
  #player;
  /** Time and controls to begin with, as a link has them. */
  #moment = "";
  /** What the player is to be told once it is there, and what is done where there is none. @type {[(player: Player) => void, (() => void) | undefined][]} */
  #untold = [];

  /** Seconds of the scene's clock, from 0 to `duration`, which is 0 where nothing depends on time. */
  get time() { return this.#player?.time ?? 0; }
  set time(seconds) { this.tell((p) => { p.time = seconds; }); }
  get duration() { return this.#player?.duration ?? 0; }
  get playing() { return this.#player?.playing ?? false; }
  play() { this.tell((p) => p.play()); }
  pause() { this.tell((p) => p.pause()); }

  /** Seconds of the scene a second, 0.25 to 4. */
  get speed() { return this.#player?.speed ?? 1; }
  set speed(speed) { this.tell((p) => { p.speed = speed; }); }
  /** Whether it starts again at its end. */
  get loop() { return this.#player?.loop ?? true; }
  set loop(on) { this.tell((p) => { p.loop = on; }); }

  /** The scene's sliders and switches, and their values. */
  get controls() { return this.#player?.controls ?? []; }
  /** @param {string} name @param {number | boolean} value @param {number} [layer] index; every one that has it, where none is given */
  setControl(name, value, layer) { this.tell((p) => p.setControl(name, value, layer)); }

  /** The recorded animations, and which is chosen. */
  get tracks() { return this.#player?.tracks ?? []; }
  /** @param {string | null} name null: none @param {number} [layer] index; every one that has it, where none is given */
  setTrack(name, layer) { this.tell((p) => p.setTrack(name, layer)); }

  /** The layers that are made anew each moment: generators, sequences, post-processing networks. */
  get layers() { return this.#player?.layers ?? []; }
  /** Turns a post-processing network on or off. @param {number} index of the layer @param {boolean} on */
  setLayer(index, on) { this.tell((p) => p.setLayer(index, on)); }

  /** Time and controls as a link has them. @protected */
  get moment() { return this.#player?.hash ?? this.#moment; }
  /** @protected */
  set moment(text) {
    if (this.#player) this.#player.hash = text;
    else this.#moment = text;
  }

  /** What a frame is drawn from. @protected */
  get live() { return this.#player?.state; }

  /** @protected @param {string} type @param {unknown} detail */
  emit(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }

  /** The scene is there, with a player or without one. @protected @param {Player | null} player */
  begin(player) {
    this.#player = player;
    for (const [what, without] of this.#untold.splice(0)) {
      try {
        this.tell(what, without);
      } catch (error) {
        reportError(error); // the page's own mistake: the scene is shown all the same
      }
    }
  }

  /** The scene goes, and may come back as it was: its device was lost. @protected */
  end() {
    this.#moment = this.moment;
    this.#player = undefined;
  }

  /** @protected */
  forget() {
    this.#moment = "";
    this.#untold = [];
  }

  /** Now, or once there is a player; `without` in scenes that have none. @protected @param {(player: Player) => void} what @param {() => void} [without] */
  tell(what, without) {
    if (this.#player) what(this.#player);
    else if (this.#player === undefined) this.#untold.push([what, without]);
    else without?.();
  }
}
