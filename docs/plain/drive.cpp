// drive BUNDLE SEED IN OUT: a wan_streamer bundle, unit by unit, with ONNX Runtime and nlohmann's JSON reader alone
// Written from docs/unit.md and docs/bundle-format.md. IN holds what a session was given, OUT gets its answers: a file
// NAME.bin of bare float32 for each array that tests/plain/reference.py names; drive_cpp.py makes them, and calls this.
// All numbers of the host are float; `run` copies them into what a graph takes, the rings too, which costs time. Left
// out: words (they need a tokenizer), pictures in the prefix, taking back a unit that failed, bundles in fewer bits.
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <onnxruntime_cxx_api.h>

using Json = nlohmann::json;
using std::string, std::vector;
using Floats = vector<float>;
using Arrays = std::map<string, Floats>;  // by the names of the graphs' inputs and outputs
template <class T> void append(vector<T>& to, const vector<T>& more) { to.insert(to.end(), more.begin(), more.end()); }
size_t product(const Json& shape) { size_t result = 1; for (size_t size : shape) result *= size; return result; }
Floats part(const Floats& all, size_t from, size_t size) { return {all.begin() + from, all.begin() + from + size}; }
Floats read(const string& path, size_t offset = 0) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    Floats numbers((file.seekg(0, std::ios::end).tellg() - std::streamoff(offset)) / sizeof(float));
    file.seekg(offset).read(reinterpret_cast<char*>(numbers.data()), numbers.size() * sizeof(float));
    return numbers;
}
template <class Use> void with_type(const string& dtype, Use use) {  // calls use with a number of that type
    dtype == "float32" ? use(float()) : dtype == "uint8" ? use(uint8_t()) : use(int32_t());
}

// ---- Noise
vector<double> uniform(uint64_t seed, uint64_t stream, uint64_t unit, size_t count) {
    using Wide = unsigned __int128;
    vector<double> result;
    for (uint64_t block = 1; result.size() < count; ++block) {
        uint64_t c[4] = {block, 0, unit, stream}, k0 = seed, k1 = 0;
        for (int round = 0; round < 10; ++round, k0 += 0x9E3779B97F4A7C15, k1 += 0xBB67AE8584CAA73B) {
            Wide first = Wide(0xD2E7470EE14C6C93) * c[0], second = Wide(0xCA5A826395121157) * c[2];
            c[0] = uint64_t(second >> 64) ^ c[1] ^ k0, c[1] = uint64_t(second);
            c[2] = uint64_t(first >> 64) ^ c[3] ^ k1, c[3] = uint64_t(first);
        }
        for (uint64_t word : c) result.push_back(double((word >> 11) + 1) * 0x1p-53);
    }
    return result;
}

Floats normal(uint64_t seed, uint64_t unit, size_t count) {  // of the solver
    size_t half = (count + 1) / 2;
    vector<double> u = uniform(seed, 0, unit, 2 * half);
    Floats z(2 * half);
    for (size_t i = 0; i < half; ++i) {
        double r = std::sqrt(-2 * std::log(u[i])), angle = 2 * std::acos(-1.0) * u[half + i];
        z[i] = float(r * std::cos(angle)), z[half + i] = float(r * std::sin(angle));
    }
    return z;
}
Floats gumbel(uint64_t seed, uint64_t unit, size_t count) {  // of the slots
    Floats g;
    for (double u : uniform(seed, 1, unit, count)) g.push_back(-std::log(-std::log(std::min(u, 1 - 0x1p-53))));
    return g;
}

// ---- A conversation
struct Segment { string name, ring; int64_t count, place; double offset, step; };
struct Token { string ring; int64_t place; double position, prefix_position; float group; };
struct Knobs { uint64_t seed; float steps, temperature, top_k, top_p; };

struct Streamer {
    Json manifest, constants, embedding;
    Ort::Env env;
    std::map<string, std::pair<Json, Ort::Session>> graphs;
    vector<Segment> segments;
    std::map<string, int64_t> P, window;  // by ring
    Floats table;                         // of embeddings
    Arrays state, past;                   // carries, rings and `valid` by the inputs' names; y of unit k-1
    bool past_waits = false;              // whether y of unit k-1 is for the block to compute
    int64_t k = 0, n = 0;

    explicit Streamer(const string& folder) : manifest(Json::parse(std::ifstream(folder + "/manifest.json"))) {
        constants = manifest["constants"];
        window = {{"main", constants["window_units"]}, {"video", constants["video_window_units"]}};
        for (const Json& s : constants["segments"]) {
            segments.push_back({s["name"], s["ring"], s["count"], P[s["ring"]], s["offset"], s["step"]});
            P[s["ring"]] += segments.back().count;
        }
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(1);  // on more it differs by some 1e-6, for sums are then taken in other orders
        for (const Json& graph : manifest["graphs"]) {
            if (graph["precision"]["weights"] != "float32") throw std::runtime_error("only bundles in float32");
            string name = graph["name"], path = folder + "/" + graph["file"].get<string>();
            graphs.emplace(name, std::pair(graph, Ort::Session(env, path.c_str(), options)));
        }
        for (const Json& about : manifest["states"]) {
            state["state." + about["path"].get<string>()] = Floats(product(about["shape"]), about.value("start", 0.0f));
            if (about["kind"] == "ring") state["valid." + string(about["ring"])] = Floats(about["shape"][1], -30000);
        }
        embedding = manifest["embeddings"][0];
        table = read(folder + "/" + embedding["file"].get<string>(), embedding["offset"]);
    }

    Arrays run(const string& name, Arrays given, int64_t T = 1) {  // what is not given comes from the state
        auto& [about, session] = graphs.at(name);
        const Json &inputs = about["inputs"], &outputs = about["outputs"];
        Ort::AllocatorWithDefaultOptions allocator;
        vector<const char*> in, out;
        vector<Ort::Value> values;
        for (const Json& input : inputs) {
            in.push_back(input["name"].get_ref<const string&>().c_str());
            vector<int64_t> shape;
            for (const Json& size : input["shape"]) shape.push_back(size.is_string() ? T : size.get<int64_t>());
            Floats& data = given.count(in.back()) ? given[in.back()] : state.at(in.back());
            with_type(input["dtype"], [&](auto zero) {
                values.push_back(Ort::Value::CreateTensor<decltype(zero)>(allocator, shape.data(), shape.size()));
                std::copy(data.begin(), data.end(), values.back().GetTensorMutableData<decltype(zero)>());
            });
        }
        for (const Json& output : outputs) out.push_back(output["name"].get_ref<const string&>().c_str());
        values = session.Run({}, in.data(), values.data(), in.size(), out.data(), out.size());
        Arrays result;
        for (size_t i = 0; i < out.size(); ++i) {
            with_type(outputs[i]["dtype"], [&](auto zero) {
                auto first = values[i].GetTensorData<decltype(zero)>();
                result[out[i]].assign(first, first + values[i].GetTensorTypeAndShapeInfo().GetElementCount());
            });
        }
        return result;
    }

    Floats row(size_t token) {  // of the table
        size_t rows = embedding["rows"], width = embedding["width"], by_row = embedding["layout"] == "row";
        Floats result;
        for (size_t i = 0; i < width; ++i) result.push_back(table[by_row ? token * width + i : i * rows + token]);
        return result;
    }

    int64_t base(const string& ring) { return n % (window[ring] + 1) * P[ring]; }
    vector<Token> tokens(const string& which, int64_t unit, float group) {  // of the segments whose names begin so
        double per_unit = constants["positions_per_unit"];
        vector<Token> result;
        for (const Segment& s : segments)
            for (int64_t j = 0; s.name.find(which) == 0 && j < s.count; ++j)
                result.push_back({s.ring, base(s.ring) + s.place + j, unit * per_unit + s.offset + j * s.step,
                                  std::min(unit, window["main"]) * per_unit + s.offset + j * s.step, group});
        return result;
    }

    Floats turned(const vector<Token>& tokens, double Token::*position, double (*turn)(double)) {
        double head_size = constants["head_size"], rope_base = constants["rope_base"];
        Floats result;
        for (const Token& token : tokens)
            for (int i = 0; i < head_size / 2; ++i)
                result.push_back(float(turn(token.*position * std::pow(rope_base, -2.0 * i / head_size))));
        return result;
    }
    Floats core(const vector<Token>& tokens, const Floats& rows, bool commit = true) {  // hidden
        size_t T = tokens.size();
        Floats group;
        for (const Token& token : tokens) group.push_back(token.group);
        Arrays out = run("core", {{"embeddings", rows}, {"group", group},
                                  {"cos", turned(tokens, &Token::position, std::cos)},
                                  {"sin", turned(tokens, &Token::position, std::sin)},
                                  {"prefix_cos", turned(tokens, &Token::prefix_position, std::cos)},
                                  {"prefix_sin", turned(tokens, &Token::prefix_position, std::sin)}}, T);
        for (const Json& about : manifest["states"]) {
            if (!commit || about["kind"] != "ring") continue;
            size_t heads = about["shape"][0], capacity = about["shape"][1], size = about["shape"][2];
            Floats &to = state["state." + about["path"].get<string>()], &from = out[about["append"]];
            for (size_t i = 0; i < heads * T; ++i)
                if (const Token& token = tokens[i % T]; token.ring == about["ring"])
                    std::copy_n(&from[i * size], size, &to[(i / T * capacity + token.place) * size]);
        }
        for (const Token& token : commit ? tokens : vector<Token>()) state["valid." + token.ring][token.place] = 0;
        return out["hidden"];
    }
    Floats solve_in(Arrays& x, double t, double dt) {
        x["t"] = {float(t)}, x["dt"] = {float(dt)};
        return run("solve_in", x)["embeddings"];
    }
    void pin(int64_t m, float token) {  // into place m of the prefix, before unit 0
        double position = m - constants["prefix_tokens"].get<double>();
        core({{"prefix", m, position, position, 0}}, row(token));
    }
    void settle() {  // in the idle time after a unit
        core(tokens("agent.", k - 1, 0), solve_in(past, 0, 0));
        past_waits = false;
    }

    Arrays unit(const Floats& samples, const Floats& frames, const Floats& text, const Knobs& knobs) {
        Arrays answers, heard = run("encode", {{"samples", samples}, {"frames", frames}});
        Floats rows = past_waits ? solve_in(past, 0, 0) : Floats();
        vector<Token> block = past_waits ? tokens("agent.", k - 1, 0) : vector<Token>();
        append(block, tokens("user.", k, 1));
        append(block, tokens("start", k, 2));
        for (const string name : {"user.video", "user.audio"}) append(rows, heard[name]);
        for (float token : text) append(rows, row(token));
        append(rows, row(constants["token_start"]));
        Floats hidden = core(block, rows);
        size_t width = constants["width"], candidates = constants["candidates"];
        hidden = part(hidden, hidden.size() - width, width);
        bool greedy = knobs.temperature == 0;
        vector<Token> slots = tokens("slots", k, 0);
        Floats noise = greedy ? Floats(slots.size() * candidates) : gumbel(knobs.seed, k, slots.size() * candidates);
        for (size_t s = 0; s < slots.size(); ++s) {
            Arrays chosen = run("slot", {{"hidden", hidden}, {"noise", part(noise, s * candidates, candidates)},
                                         {"temperature", {greedy ? 1 : knobs.temperature}},
                                         {"top_k", {greedy ? 1 : knobs.top_k ? knobs.top_k : candidates}},
                                         {"top_p", {greedy ? 1 : knobs.top_p}}});
            append(answers["tokens"], chosen["token"]);
            append(answers["scores"], chosen["scores"]);
            hidden = core({slots[s]}, row(chosen["token"][0]));
        }
        size_t video = product(constants["video_latent"]), audio = product(constants["audio_latent"]);
        Floats z = normal(knobs.seed, k, video + audio);
        Arrays x = {{"latents.video", part(z, 0, video)}, {"latents.audio", part(z, video, audio)}};
        for (int i = 0; i < knobs.steps; ++i) {
            Floats rows = solve_in(x, 1 - i / double(knobs.steps), 1 / double(knobs.steps));
            x["hidden"] = core(tokens("agent.", k, 0), rows, false);
            Arrays next = run("solve_out", x);
            x = {{"latents.video", next["next.latents.video"]}, {"latents.audio", next["next.latents.audio"]}};
        }
        Arrays shown = run("decode", x);
        past = x, past_waits = true, ++k, ++n;
        for (const Arrays& outputs : {heard, shown})
            for (const auto& [name, numbers] : outputs)
                if (name.find("state_next.") == 0) state["state." + name.substr(11)] = numbers;
        for (const auto& [ring, count] : P) std::fill_n(&state["valid." + ring][base(ring)], count, -30000);
        answers.insert({{"samples", shown["samples"]}, {"frames", shown["frames"]}});
        answers.merge(x);
        return answers;
    }
};

int main(int count, char** arguments) {
    if (count != 5) throw std::runtime_error("usage: drive BUNDLE SEED IN OUT");
    auto in = [&](const string& name) { return read(string(arguments[3]) + "/" + name + ".bin"); };
    Knobs knobs = {std::stoull(arguments[2]), in("steps")[0], in("temperature")[0], in("top_k")[0], in("top_p")[0]};
    Streamer streamer(arguments[1]);
    Floats prefix = in("in.prefix"), samples = in("in.samples"), frames = in("in.frames"), text = in("in.text");
    for (size_t m = 0; m < prefix.size(); ++m) streamer.pin(m, prefix[m]);
    size_t units = samples.size() / streamer.manifest["media"]["sound_in"]["unit_samples"].get<size_t>();
    Arrays answers;
    for (size_t i = 0; i < units; ++i) {
        auto now = [&](const Floats& all) { return part(all, i * (all.size() / units), all.size() / units); };
        for (const auto& [name, numbers] : streamer.unit(now(samples), now(frames), now(text), knobs))
            append(answers[name], numbers);
        if (in("settled")[0]) streamer.settle();
    }
    for (const auto& [name, numbers] : answers)
        std::ofstream(string(arguments[4]) + "/" + name + ".bin", std::ios::binary)
            .write(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
}
