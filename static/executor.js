// Runs a resolved plan on a WebGPU device: makes what it names, loops over its passes. Decides nothing (viewer/executor.py's twin).

/**
 * @typedef {import("./plan.js").Plan} Plan
 * @typedef {import("./plan.js").PlanPass} PlanPass
 * @typedef {import("./plan.js").Target} Target
 * @typedef {import("./plan.js").Blend} Blend
 * @typedef {(path: string) => string | Promise<string>} Loader gives a file of shaders/ by its path inside that folder
 * @typedef {GPUComputePipeline | GPURenderPipeline} Pipeline
 * @typedef {{pipeline: Pipeline, resources: (GPUBuffer | GPUTexture)[], group: GPUBindGroup}} Group
 */

/**
 * The format `color` is best drawn in: GPUs blend rgba16float much faster, SwiftShader rgba32float (308 against 555 ms of
 * processor time for 113,000 splats at 640x360).
 * @param {GPUDevice} device
 * @returns {GPUTextureFormat}
 */
export function targetFormat(device) {
  const software = device.adapterInfo?.isFallbackAdapter ?? false;
  return software && device.features.has("float32-blendable") ? "rgba32float" : "rgba16float";
}

/** What Tint says about a stage, with file and line of the source file, not of the joined text. */
export class ShaderError extends Error {
  /** @param {string} stage @param {string[]} messages */
  constructor(stage, messages) {
    super(`${stage}: ${messages.join("\n")}`);
    this.name = "ShaderError";
    this.stage = stage;
    this.messages = messages;
  }
}

/** Holds the GPU objects of a plan. Buffers keep their contents as long as a plan does not ask for larger ones. */
export class Executor {
  /** @type {Map<string, GPUBuffer>} */
  #buffers = new Map();
  /** @type {Map<string, GPUTexture>} */
  #textures = new Map();
  /** @type {WeakMap<GPUTexture, GPUTextureView>} */
  #views = new WeakMap();
  /** @type {Map<string, Promise<string>>} */
  #files = new Map();
  /** @type {Map<string, Promise<Pipeline>>} */
  #compiling = new Map();
  /** @type {Map<string, Pipeline>} */
  #pipelines = new Map();
  /** Pipelines by pass object: a cached plan is looked up without making a key. @type {WeakMap<PlanPass, Pipeline>} */
  #ofPass = new WeakMap();
  /** @type {Map<string, Group>} */
  #groups = new Map();
  #destroyed = false;
  /** @type {(event: Event) => void} */
  #listener;

  /**
   * @param {GPUDevice} device stays the caller's; destroy() leaves it alive
   * @param {object} options
   * @param {Loader} options.load
   * @param {GPUTextureFormat} [options.canvasFormat] format of textures the frame declares as "canvas"
   * @param {(error: Error) => void} [options.onError] told of every uncaptured error of the device
   */
  constructor(device, { load, canvasFormat = "rgba8unorm", onError }) {
    this.device = device;
    this.canvasFormat = canvasFormat;
    this.load = load;
    this.#listener = (event) => {
      const { error } = /** @type {GPUUncapturedErrorEvent} */ (event);
      if (onError) onError(new Error(`WebGPU: ${error.message}`));
    };
    device.addEventListener("uncapturederror", this.#listener);
  }

  /**
   * Compiles the pipelines of a plan that are not there yet. Rejects with ShaderError, or Error where a pipeline fails.
   * @param {Plan} plan
   * @returns {Promise<void>}
   */
  async compile(plan) {
    await Promise.all(plan.passes.map((item) => {
      const key = this.#key(plan, item);
      let made = this.#compiling.get(key);
      if (!made) {
        made = this.#make(plan, item).then((pipeline) => {
          this.#pipelines.set(key, pipeline);
          return pipeline;
        });
        made.catch(() => this.#compiling.delete(key)); // a later compile() may succeed, when its file could not be fetched
        this.#compiling.set(key, made);
      }
      return made;
    }));
  }

  /**
   * Makes the buffers and textures the plan names, where they are absent, too small or of another size.
   * @param {Plan} plan
   * @returns {string[]} names of the buffers made: their former contents are gone
   */
  prepare(plan) {
    if (this.#destroyed) throw new Error("this executor was destroyed");
    const made = [];
    const limit = Math.min(this.device.limits.maxStorageBufferBindingSize, this.device.limits.maxBufferSize);
    for (const name in plan.buffers) {
      const wanted = plan.buffers[name];
      const old = this.#buffers.get(name);
      if (old && old.size >= wanted.size) continue;
      if (wanted.size > limit) {
        throw new Error(`buffer ${name} needs ${wanted.size} bytes, this adapter binds at most ${limit}: use a smaller budget`);
      }
      // Half as much again when it grows: a count that creeps up must not make a new buffer every frame.
      const size = old ? Math.max(wanted.size, Math.min(limit, Math.floor((old.size * 3) / 8) * 4)) : wanted.size;
      old?.destroy();
      const usage = flags(wanted.usage, /** @type {Record<string, number>} */ (/** @type {unknown} */ (GPUBufferUsage)));
      this.#buffers.set(name, this.device.createBuffer({ label: name, size, usage }));
      made.push(name);
    }
    for (const name in plan.textures) {
      if (plan.textures[name].format !== "canvas") this.#makeTexture(plan, name);
    }
    return made;
  }

  /** @param {string} name @returns {GPUBuffer} */
  buffer(name) {
    const buffer = this.#buffers.get(name);
    if (!buffer) throw new Error(`no buffer named ${name}: the plan has not been prepared`);
    return buffer;
  }

  /** @param {string} name @returns {GPUTexture} */
  texture(name) {
    const texture = this.#textures.get(name);
    if (!texture) throw new Error(`no texture named ${name}: the plan has not been prepared`);
    return texture;
  }

  /**
   * Queues bytes into a buffer.
   * @param {string} name
   * @param {GPUAllowSharedBufferSource} data
   * @param {number} [offset] bytes
   */
  write(name, data, offset = 0) {
    if (data.byteLength > 0) this.device.queue.writeBuffer(this.buffer(name), offset, data);
  }

  /**
   * Encodes every pass of the plan and submits them as one command buffer.
   * @param {Plan} plan compiled and prepared
   * @param {GPUTexture} [canvas] this frame's texture, for the targets declared as "canvas"; without it one of our own
   */
  run(plan, canvas) {
    const encoder = this.device.createCommandEncoder({ label: "frame" });
    for (const item of plan.passes) this.#encode(encoder, plan, item, canvas);
    this.device.queue.submit([encoder.finish()]);
  }

  /** Releases every buffer and texture. The device stays alive. */
  destroy() {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.device.removeEventListener("uncapturederror", this.#listener);
    for (const buffer of this.#buffers.values()) buffer.destroy();
    for (const texture of this.#textures.values()) texture.destroy();
    this.#buffers.clear();
    this.#textures.clear();
    this.#groups.clear();
    this.#pipelines.clear();
    this.#compiling.clear();
    this.#ofPass = new WeakMap();
  }

  /** @param {GPUCommandEncoder} encoder @param {Plan} plan @param {PlanPass} item @param {GPUTexture} [canvas] */
  #encode(encoder, plan, item, canvas) {
    const pipeline = this.#pipeline(plan, item), group = this.#group(item, pipeline);
    if (item.dispatch) {
      const pass = encoder.beginComputePass({ label: item.label });
      pass.setPipeline(/** @type {GPUComputePipeline} */ (pipeline));
      pass.setBindGroup(0, group);
      if ("indirect" in item.dispatch) {
        pass.dispatchWorkgroupsIndirect(this.buffer(item.dispatch.indirect), item.dispatch.offset);
      } else {
        const [x, y, z] = item.dispatch.groups;
        pass.dispatchWorkgroups(x, y, z);
      }
      pass.end();
    } else if (item.draw) {
      const draw = item.draw;
      const pass = encoder.beginRenderPass({
        label: item.label,
        colorAttachments: draw.targets.map((target) => ({
          view: this.#view(this.#target(plan, target, canvas)),
          loadOp: target.load,
          storeOp: "store",
          clearValue: [0, 0, 0, 0],
        })),
        // Reversed: near / z, so that float32 is as fine far away as it is near, and 0 is nothing.
        depthStencilAttachment: draw.depth === undefined ? undefined : { view: this.#view(this.texture(draw.depth)), depthLoadOp: "clear", depthStoreOp: "store", depthClearValue: 0 },
      });
      pass.setPipeline(/** @type {GPURenderPipeline} */ (pipeline));
      pass.setBindGroup(0, group);
      if (draw.indirect !== undefined) pass.drawIndirect(this.buffer(draw.indirect), draw.offset ?? 0);
      else pass.draw(draw.vertices ?? 0);
      pass.end();
    }
  }

  /** @param {Plan} plan @param {Target} target @param {GPUTexture} [canvas] @returns {GPUTexture} */
  #target(plan, target, canvas) {
    if (plan.textures[target.texture]?.format === "canvas") return canvas ?? this.#makeTexture(plan, target.texture);
    return this.texture(target.texture);
  }

  /** @param {Plan} plan @param {string} name @returns {GPUTexture} */
  #makeTexture(plan, name) {
    const { width, height, usage } = plan.textures[name];
    const old = this.#textures.get(name);
    if (old && old.width === width && old.height === height) return old;
    old?.destroy();
    const texture = this.device.createTexture({
      label: name,
      size: [width, height],
      format: this.#format(plan, name),
      usage: flags(usage, /** @type {Record<string, number>} */ (/** @type {unknown} */ (GPUTextureUsage))),
    });
    this.#textures.set(name, texture);
    return texture;
  }

  /** @param {Plan} plan @param {string} name @returns {GPUTextureFormat} */
  #format(plan, name) {
    const texture = plan.textures[name];
    if (!texture) throw new Error(`pipeline.json: no texture named '${name}'`);
    return texture.format === "canvas" ? this.canvasFormat : /** @type {GPUTextureFormat} */ (texture.format);
  }

  /** @param {GPUTexture} texture @returns {GPUTextureView} */
  #view(texture) {
    let view = this.#views.get(texture);
    if (!view) this.#views.set(texture, (view = texture.createView()));
    return view;
  }

  /** @param {Plan} plan @param {PlanPass} item @returns {string} */
  #key(plan, item) {
    const formats = item.draw?.targets.map((target) => [this.#format(plan, target.texture), target.blend]);
    return JSON.stringify([item.name, item.source, item.constants, formats, item.draw?.depth]);
  }

  /** @param {Plan} plan @param {PlanPass} item @returns {Pipeline} */
  #pipeline(plan, item) {
    let pipeline = this.#ofPass.get(item);
    if (!pipeline) {
      pipeline = this.#pipelines.get(this.#key(plan, item));
      if (!pipeline) throw new Error(`${item.name} is not compiled: await compile(plan) first`);
      this.#ofPass.set(item, pipeline);
    }
    return pipeline;
  }

  /** @param {PlanPass} item @param {Pipeline} pipeline @returns {GPUBindGroup} */
  #group(item, pipeline) {
    const old = this.#groups.get(item.label);
    if (old && old.pipeline === pipeline && item.bindings.length === old.resources.length
      && item.bindings.every((name, i) => (this.#buffers.get(name) ?? this.#textures.get(name)) === old.resources[i])) {
      return old.group;
    }
    const resources = item.bindings.map((name) => this.#buffers.get(name) ?? this.texture(name));
    const group = this.device.createBindGroup({
      label: item.label,
      layout: pipeline.getBindGroupLayout(0),
      entries: resources.map((r, binding) => ({ binding, resource: "createView" in r ? this.#view(r) : { buffer: r } })),
    });
    this.#groups.set(item.label, { pipeline, resources, group });
    return group;
  }

  /** @param {string} path @returns {Promise<string>} */
  #file(path) {
    let text = this.#files.get(path);
    if (!text) {
      text = Promise.resolve(this.load(path));
      text.catch(() => this.#files.delete(path));
      this.#files.set(path, text);
    }
    return text;
  }

  /** @param {Plan} plan @param {PlanPass} item @returns {Promise<Pipeline>} */
  async #make(plan, item) {
    const texts = await Promise.all(item.source.map((path) => this.#file(path)));
    const module = this.device.createShaderModule({ label: item.name, code: texts.join("\n") });
    const { messages } = await module.getCompilationInfo();
    const errors = messages.filter((m) => m.type === "error");
    if (errors.length > 0) {
      throw new ShaderError(item.name, errors.map((m) => `shaders/${locate(item.source, texts, m.lineNum)}:${m.linePos}: ${m.message}`));
    }
    const { constants } = item;
    if (item.dispatch) {
      return this.device.createComputePipelineAsync({ label: item.name, layout: "auto", compute: { module, entryPoint: item.name, constants } });
    }
    const targets = (item.draw?.targets ?? []).map((target) => ({
      format: this.#format(plan, target.texture),
      blend: target.blend && { color: component(target.blend.color), alpha: component(target.blend.alpha) },
    }));
    return this.device.createRenderPipelineAsync({
      label: item.name,
      layout: "auto",
      vertex: { module, entryPoint: `${item.name}_vs`, constants },
      fragment: { module, entryPoint: `${item.name}_fs`, constants, targets },
      primitive: { topology: "triangle-list", cullMode: "none" },
      depthStencil: item.draw?.depth === undefined ? undefined : { format: this.#format(plan, item.draw.depth), depthWriteEnabled: true, depthCompare: "greater" },
    });
  }
}

/**
 * `file:line` of a line (from 1) of the files joined by newlines.
 * @param {string[]} files @param {string[]} texts @param {number} line
 * @returns {string}
 */
export function locate(files, texts, line) {
  let rest = line;
  for (let i = 0; i < files.length; i++) {
    const lines = texts[i].split("\n").length;
    if (rest <= lines || i === files.length - 1) return `${files[i]}:${rest}`;
    rest -= lines;
  }
  return `:${line}`;
}

/** @param {Blend} blend @returns {GPUBlendComponent} */
function component(blend) {
  return { srcFactor: blend.src_factor, dstFactor: blend.dst_factor, operation: blend.operation };
}

/** @param {string[]} names @param {Record<string, number>} values @returns {number} */
function flags(names, values) {
  return names.reduce((sum, name) => {
    if (values[name] === undefined) throw new Error(`pipeline.json: no usage named ${name}`);
    return sum | values[name];
  }, 0);
}
