"use strict";
// Draws the curves of each run from the text in its script element: median and range, with a cursor over the steps.
(() => {
  const COLOURS = 6, MOST_DRAWN = 12, FEW_POINTS = 12, SPANS_DECADES = 100;
  const MARGIN = {left: 66, right: 14, top: 12, bottom: 42};

  async function unpacked(text) {
    const bytes = Uint8Array.from(atob(text.trim()), letter => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }

  function written(value, digits = 4) {
    if (value === null || value === undefined) return "-";
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(digits - 1).replace(/\.?0+e/, "e");
    return String(Number(value.toPrecision(digits)));
  }

  // Steps are 0 at the start, so that a log axis of steps is linear up to 1.
  const SCALES = {
    linear: value => value,
    log: Math.log10,
    steps: step => (step < 1 ? step : 1 + Math.log10(step)),
  };

  function linearTicks(low, high) {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough * 0.999);
    const digits = Math.min(12, Math.max(3, Math.ceil(Math.log10(Math.max(Math.abs(low), Math.abs(high)) / step)) + 1));
    const ticks = [];
    for (let place = Math.ceil(low / step - 1e-9); place * step <= high + 1e-9 * step; place++) {
      ticks.push([place * step, written(place * step, digits)]);
    }
    return ticks;
  }

  function logTicks(low, high) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    if (last - first < 1) return linearTicks(low, high).filter(([value]) => value > 0);
    const stride = Math.ceil((last - first + 1) / 7), ticks = [];
    for (let power = first; power <= last; power += stride) ticks.push([10 ** power, Math.abs(power) < 4 ? String(+(10 ** power).toFixed(3)) : `1e${power}`]);
    return ticks;
  }

  function axis(low, high, kind, from, to) {
    const scaled = SCALES[kind];
    const ticks = kind === "linear" ? linearTicks(low, high)
      : kind === "log" ? logTicks(low, high)
      : [[0, "0"], ...logTicks(1, Math.max(high, 10))].filter(([step]) => step >= low && step <= high);
    const start = scaled(low), end = scaled(high);
    return {place: value => from + (to - from) * (scaled(value) - start) / (end - start || 1), ticks};
  }

  function extent(values) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    return low <= high ? [low, high] : null;
  }

  // The ends of an axis that shows these numbers, with some room; null if it can show none.
  function widened(values, log) {
    const ends = extent(values.filter(value => value !== null && (!log || value > 0)));
    if (ends === null) return null;
    const [low, high] = ends;
    if (log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
    const room = high > low ? 0.04 * (high - low) : Math.abs(high) / 2 || 1;
    return [low - room, high + room];
  }

  // Stretches of places at which every one of these lines has a number that the axis can show.
  function stretches(length, shown) {
    const found = [];
    for (let i = 0, open = false; i < length; i++) {
      if (!shown(i)) open = false;
      else if (open) found[found.length - 1].push(i);
      else { found.push([i]); open = true; }
    }
    return found;
  }

  function panel(root, data) {
    const plot = root.querySelector(".plot"), rows = root.querySelector("tbody");
    const field = name => root.querySelector(`[name="${name}"]`);
    const [variable, variant, slider] = ["variable", "variant", "step"].map(field);
    const logSteps = field("log-steps"), logValues = field("log-values"), output = root.querySelector("output");
    const box = {width: 0, height: 0};
    let shown = [], steps = [], horizontal = null;

    const element = (parent, name, attributes, text) => {
      const made = parent.appendChild(document.createElementNS(plot.namespaceURI, name));
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text !== undefined) made.textContent = text;
      return made;
    };
    const low = curve => curve.low || curve.middle, high = curve => curve.high || curve.middle;
    const drawn = () => shown.filter(curve => curve.checked);
    const curvesOf = name => data.curves.filter(curve => curve.variable === name);

    function offer(select, names) {
      select.replaceChildren(...names.map(([value, text]) => new Option(text, value)));
    }

    function offerVariants() {
      const curves = curvesOf(variable.value), names = [...new Set(curves.map(curve => curve.variant))];
      const before = variant.value, all = names.length > 1 ? [["", `all (${curves.length} curves)`]] : [];
      offer(variant, [...all, ...names.map(name => [name, name])]);
      const kept = before !== "" && names.includes(before);
      variant.value = kept ? before : curves.length <= MOST_DRAWN && names.length > 1 ? "" : names[0];
    }

    function choose() {
      const every = variant.value === "";
      shown = curvesOf(variable.value).filter(curve => every || curve.variant === variant.value).map((curve, i) => {
        const name = every && curve.label !== curve.variant ? `${curve.variant}: ${curve.label}` : curve.label;
        const dashes = Math.floor(i / COLOURS) ? `${6 / Math.floor(i / COLOURS)} 4` : "none";
        return {...curve, name, steps: data.steps[curve.variant], checked: i < MOST_DRAWN, colour: `var(--c${i % COLOURS})`, dashes};
      });
      steps = [...new Set(shown.flatMap(curve => curve.steps))].sort((a, b) => a - b);
      slider.max = Math.max(steps.length - 1, 0);
      slider.value = slider.max;
      const about = data.variables.find(each => each.name === variable.value);
      const units = {"1": "", "-": ""}[about.units] ?? ` [${about.units}]`;
      root.querySelector(".meaning").textContent = [`${about.name}${units}: ${about.meaning}`, about.source, about.chosen].filter(Boolean).join("; ");
      listCurves();
      draw();
    }

    // A log axis for values, where they span decades.
    function adapt() {
      const values = shown.flatMap(curve => curve.middle).filter(value => value !== null);
      const positive = extent(values.filter(value => value > 0));
      logValues.disabled = positive === null;
      logValues.checked = positive !== null && extent(values)[0] >= 0 && positive[1] > SPANS_DECADES * positive[0];
    }

    function listCurves() {
      rows.replaceChildren(...shown.map(curve => {
        const row = document.createElement("tr"), head = row.appendChild(document.createElement("th"));
        head.scope = "row";
        const label = head.appendChild(document.createElement("label")), tick = label.appendChild(document.createElement("input"));
        tick.type = "checkbox";
        tick.checked = curve.checked;
        tick.addEventListener("change", () => { curve.checked = tick.checked; draw(); });
        const swatch = element(label, "svg", {class: "swatch", viewBox: "0 0 32 11", "aria-hidden": "true"});
        element(swatch, "path", {d: "M1 5.5h30", stroke: curve.colour, "stroke-width": 3, "stroke-dasharray": curve.dashes});
        label.append(curve.name);
        for (let i = 0; i < 4; i++) row.appendChild(document.createElement("td")).className = "number";
        row.lastChild.textContent = curve.diverged ? `${curve.members}, ${curve.diverged} diverged` : curve.members;
        return row;
      }));
    }

    function draw() {
      box.width = plot.clientWidth || 640;
      box.height = plot.clientHeight || 340;
      plot.replaceChildren();
      plot.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
      const curves = drawn(), log = logValues.checked;
      const range = widened(curves.flatMap(curve => [...low(curve), ...high(curve)]), log);
      plot.setAttribute("aria-label", `${variable.value} over the steps: ${curves.length} of ${shown.length} curves of ${root.dataset.of}`);
      horizontal = null;
      if (!range) element(plot, "text", {x: MARGIN.left, y: 40}, log ? "no positive number to draw" : "no number to draw");
      else {
        const right = box.width - MARGIN.right, bottom = box.height - MARGIN.bottom;
        const [first, last] = [Math.min(steps[0], 0), Math.max(steps[steps.length - 1], steps[0] + 1)];
        horizontal = axis(first, last, logSteps.checked ? "steps" : "linear", MARGIN.left, right);
        const vertical = axis(range[0], range[1], log ? "log" : "linear", bottom, MARGIN.top);
        drawAxes(horizontal, vertical, right, bottom);
        for (const curve of curves) drawCurve(curve, horizontal, vertical, log, bottom);
      }
      point();
    }

    function drawAxes(across, up, right, bottom) {
      for (const [value, text] of across.ticks) {
        element(plot, "path", {class: "grid", d: `M${across.place(value)} ${MARGIN.top}V${bottom}`});
        element(plot, "text", {x: across.place(value), y: bottom + 17, "text-anchor": "middle"}, text);
      }
      for (const [value, text] of up.ticks) {
        element(plot, "path", {class: "grid", d: `M${MARGIN.left} ${up.place(value)}H${right}`});
        element(plot, "text", {x: MARGIN.left - 7, y: up.place(value) + 4, "text-anchor": "end"}, text);
      }
      element(plot, "path", {class: "frame", d: `M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}`});
      element(plot, "text", {x: (MARGIN.left + right) / 2, y: box.height - 8, "text-anchor": "middle"}, "step");
    }

    function drawCurve(curve, across, up, log, bottom) {
      const fits = value => value !== null && (!log || value > 0);
      const height = value => (fits(value) ? up.place(value) : bottom).toFixed(1);
      const at = (i, values) => `${across.place(curve.steps[i]).toFixed(1)} ${height(values[i])}`;
      if (curve.low) {
        const band = stretches(curve.steps.length, i => fits(curve.high[i]));
        const outline = band.map(places => `M${places.map(i => at(i, curve.high)).join("L")}L${[...places].reverse().map(i => at(i, curve.low)).join("L")}Z`);
        element(plot, "path", {class: "band", fill: curve.colour, d: outline.join("")});
      }
      const lines = stretches(curve.steps.length, i => fits(curve.middle[i]));
      const d = lines.map(places => `M${places.map(i => at(i, curve.middle)).join("L")}${places.length > 1 ? "" : "h0"}`).join("");
      element(plot, "path", {class: "line", stroke: curve.colour, "stroke-dasharray": curve.dashes, d});
      if (curve.steps.length <= FEW_POINTS) {
        for (const i of lines.flat()) {
          const [cx, cy] = at(i, curve.middle).split(" ");
          element(plot, "circle", {cx, cy, r: 3, fill: curve.colour});
        }
      }
    }

    // The observation of a curve that is nearest to a step.
    const nearest = (own, step) => own.reduce((best, value, i) => (Math.abs(value - step) < Math.abs(own[best] - step) ? i : best), 0);

    function point() {
      const step = steps[slider.value];
      plot.querySelector(".cursor")?.remove();
      if (step === undefined) return;
      output.textContent = `step ${step}`;
      slider.setAttribute("aria-valuetext", `step ${step}`);
      if (horizontal) element(plot, "path", {class: "cursor", d: `M${horizontal.place(step)} ${MARGIN.top}V${box.height - MARGIN.bottom}`});
      shown.forEach((curve, row) => {
        const i = nearest(curve.steps, step), cells = rows.children[row].children;
        [curve.middle[i], low(curve)[i], high(curve)[i]].forEach((value, column) => { cells[column + 1].textContent = written(value); });
      });
    }

    plot.addEventListener("pointermove", event => {
      if (!horizontal) return;
      const x = event.clientX - plot.getBoundingClientRect().left;
      slider.value = nearest(steps.map(horizontal.place), x);
      point();
    });
    slider.addEventListener("input", point);
    logSteps.addEventListener("change", draw);
    logValues.addEventListener("change", draw);
    variant.addEventListener("change", choose);
    variable.addEventListener("change", () => { offerVariants(); choose(); adapt(); draw(); });

    root.hidden = false;
    offer(variable, data.variables.map(each => [each.name, each.name]));
    // Observations that are spaced evenly on a log axis are shown on one.
    logSteps.checked = Object.values(data.steps).some(own => own.length > 8 && own[own.length >> 1] < 0.2 * own[own.length - 1]);
    offerVariants();
    choose();
    adapt();
    draw();
    new ResizeObserver(() => { if (plot.clientWidth !== box.width) draw(); }).observe(plot);
  }

  for (const root of document.querySelectorAll(".curves")) {
    unpacked(root.querySelector("script").textContent).then(data => panel(root, data)).catch(error => {
      root.hidden = false;
      root.replaceChildren(`The curves cannot be drawn: ${error.message}`);
    });
  }
})();
