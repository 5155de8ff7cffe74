"""Actions of sport, stretching and dance, which only the domain "varied" has.

`root` is the orientation of the whole body: pitch 90 is prone, -90 supine, 180 upside down; roll 90
is on the right side.
"""

from tfds_builders.synthetic.key_poses import RUN, Action, gait, pose

_SPRINT = gait(
    pose("racer_back racer_front", "sprint drive", (14, 0, -8), (-8, 0, 0), (8, 0)),
    pose("racer_front racer_back", "run recover", (10, 0, 4), (-6, 0, 0), (6, 0)),
)

SPORT_ACTIONS = {
    "Athletics": Action([
        _SPRINT,
        RUN,
        [
            pose("forward", "start_front start_rear", (25, 0, 0), (-25, 0, 0), (62, 0)),
            pose("forward low", "start_front start_rear", (20, 0, 0), (5, 0, 0), (70, 0)),
            pose("racer_front back", "start_front drive", (20, 0, 0), (-20, 0, 0), (38, 0)),
        ],
        [
            pose("cock point_front", "stride push", (-12, 0, 25), (-8, 0, -20)),
            pose("release swing_back", "lunge trail", (20, 0, -20), root=(8, 0)),
            pose("follow back", "trail lunge", (40, 0, -28), root=(15, 0)),
        ],
        [
            pose("shot point_side", "half_squat stance", (30, 0, 30), root=(8, 0)),
            pose("release hang", "push lunge", (-5, 0, -20), (-15, 0, 0)),
            pose("backswing tee", "half_squat", (15, 0, 38), root=(8, 0)),
        ],
    ], 1.5),
    "Jumps": Action([
        [
            pose("tee forward", "hurdle_lead hurdle_trail", (32, 0, 5), (-15, 0, 0), (14, 0)),
            pose("forward swing_back", "hurdle_lead recover", (15, 0, -8)),
        ],
        [
            pose("up", "arch", (-14, 0, 0), (-15, 0, 0)),
            pose("vee", "lunge recover", (-5, 0, 0)),
            pose("forward", "pike", (42, 0, 0), root=(-10, 0)),
        ],
        [pose("tee", "split split_rear", (-4, 0, 0)), pose("vee", "stag split_rear", (-8, 0, 0))],
        [pose("tee", "straddle", (20, 0, 0)), pose("forward", "straddle_sit", (28, 0, 0))],
        [pose("vee", "star", (-8, 0, 0), (-15, 0, 0)), pose("up", "quad", (-14, 0, 0))],
        [pose("hug", "tuck", (22, 0, 0)), pose("vee", "stag tuck"), pose("up", "tuck")],
        [
            pose("scratch point_up", "kick_back recover", (-16, 5, 20), (-15, 0, 0)),
            pose("release hang", "straight recover", (10, 0, -10), (-5, 0, 0)),
        ],
        [pose("vee", "recover sprint", (0, 0, 0)), pose("swing_front up", "run recover")],
    ], 1.5, lift=0.9),
    "Gymnastics": Action([
        [
            pose("up", "straight", (-4, 0, 0), (-30, 0, 0), (180, 0)),
            pose("up", "sideways", (-6, 0, 0), (-30, 0, 0), (180, 0)),
            pose("up", "split split_rear", (-4, 0, 0), (-25, 0, 0), (176, 0)),
            pose("up", "stag attitude", (-16, 0, 0), (-30, 0, 0), (174, 0)),
            pose("up", "tuck", (15, 0, 0), (-20, 0, 0), (150, 0)),
        ],
        [
            pose("vee", "sideways", neck=(-15, 0, 0), root=(8, 70)),
            pose("vee", "sideways", neck=(-25, 0, 0), root=(4, 180)),
            pose("vee", "sideways", neck=(-15, 0, 0), root=(-4, 290)),
        ],
        [
            pose("up", "table", (-42, 0, 0), (-35, 0, 0), (-82, 0)),
            pose("up", "table high", (-42, 0, 0), (-35, 0, 0), (-82, 0)),
            pose("up", "split split_rear", (-38, 0, 0), (-30, 0, 0), (-150, 0)),
        ],
        [
            pose("tee", "split split_rear", (4, 0, 0)),
            pose("up", "split split_rear", (-10, 0, 0)),
            pose("low", "straddle_sit", (45, 0, 0), root=(8, 0)),
        ],
        [
            pose("tee", "hinge attitude", (-22, 0, 0), (-20, 0, 0), (58, 0)),
            pose("tee", "hinge split_rear", (-12, 0, 0), (-20, 0, 0), (76, 0)),
            pose("ring tee", "straight high", (-5, 0, 0), root=(-6, 0)),
            pose("vee", "straight side_kick", (0, -14, 0), root=(0, -18)),
        ],
        [pose("tee", "straight arch"), pose("up vee", "straight tree"), pose("vee", "arch")],
        [
            pose("forward", "straight", (-4, 0, 0), (-25, 0, 0), (78, 0)),
            pose("down", "straight", (-10, 0, 0), (-25, 0, 0), (84, 0)),
            pose("forward", "straddle", (-8, 0, 0), (-25, 0, 0), (80, 0)),
        ],
    ], 1.3),
    "Flips and bars": Action([
        [pose("hug", "tuck", (35, 0, 0), (20, 0, 0), (0, -40)),
         pose("hug", "tuck", (50, 0, 0), (30, 0, 0), (360, 40))],
        [pose("low", "folded", (42, 0, 0), (10, 0, 0), (-360, 20)),
         pose("down", "tuck", (30, 0, 0), (20, 0, 0), (0, -20))],
        [pose("forward", "pike", (35, 0, 0)), pose("forward", "pike", (35, 0, 0), root=(-360, 0))],
        [pose("down", "straight", (-8, 0, 0)), pose("chest", "arch", (-8, 0, 0), root=(-360, 0))],
        [pose("up", "arch", (-14, 0, 0)), pose("vee", "attitude run", (-14, 0, 0), root=(360, 30))],
        [pose("tee", "sideways"), pose("vee", "straddle", root=(40, 360))],
        [
            pose("hang", "table", (-28, 0, 0), (-20, 0, 0), (-85, 0)),
            pose("vee", "pike", (15, 0, 0), root=(-110, 10)),
            pose("up", "straight", neck=(-20, 0, 0), root=(120, 0)),
        ],
        [pose("up", "straight"), pose("up", "pike"), pose("up", "arch", (-20, 0, 0))],
        [pose("tee", "straight"), pose("tee", "pike"), pose("tee", "straddle_sit")],
        [pose("down", "pike", root=(-8, 0)), pose("down", "straddle_sit"), pose("down", "arch")],
        [
            pose("up", "straight", (-5, 0, 0), root=(115, 0)),
            pose("up", "pike", (20, 0, 0), root=(150, 0)),
            pose("up", "straight", (-6, 0, 0), (-10, 0, 0), (205, 0)),
        ],
        [
            pose("up", "straight", root=(-45, 0)),
            pose("up", "split quad", root=(-110, 0)),
            pose("forward", "straight", root=(-170, 0)),
        ],
        [pose("vee down", "straight", root=(0, 82)), pose("vee down", "star", root=(0, 70))],
    ], 1.5, lift=1.4),
    "Parkour": Action([
        [
            pose("forward", "tuck", (15, 0, 0), (-20, 0, 0), (72, 0)),
            pose("forward", "cat", (5, 0, 0), (-20, 0, 0), (95, 0)),
            pose("vee", "straight", (0, 0, 0), (-20, 0, 0), (80, 0)),
        ],
        [
            pose("down tee", "hurdle_lead recover", (15, 15, 10), root=(5, 42)),
            pose("down vee", "pike sit", (18, 12, 0), root=(-12, 38)),
            pose("back", "pike sit_long", (18, 0, 0), root=(-22, 0)),
        ],
        [
            pose("forward", "landing", (42, 0, 0), (-20, 0, 0), (25, 0)),
            pose("swing_front back", "landing", (32, 0, 0), root=(25, 0)),
            pose("low tee", "squat", (48, 0, 0), root=(28, 0)),
        ],
        [
            pose("climb", "cat", (5, 0, 0), (-20, 0, 0)),
            pose("climb up", "cat run", (0, 0, 6), (-25, 0, 0)),
            pose("up climb", "straight cat", neck=(-25, 0, 0)),
        ],
        [
            pose("hug", "tuck", (55, 0, 0), (40, 0, 0), (60, 20)),
            pose("hug", "tuck", (60, 0, 0), (45, 0, 0), (140, 15)),
            pose("hug", "tuck", (58, 0, 0), (40, 0, 0), (-80, 0)),
        ],
        [
            pose("tee vee", "sprint drive", (5, 0, 0), root=(-8, -28)),
            pose("forward tee", "run trail", root=(12, 25)),
        ],
        [
            pose("low", "landing", (35, 0, 0), (-30, 0, 0), (50, 0)),
            pose("low forward", "cat half_squat", (25, 0, 0), (-30, 0, 0), (52, 0)),
        ],
    ], 1.5, lift=0.5),
    "Racket": Action([
        [
            pose("backswing point_side", "ready", (22, 0, 30), root=(10, 0)),
            pose("follow table", "lunge trail", (15, 0, -25), root=(6, 0)),
        ],
        [
            pose("backhand table", "side_lunge ready", (28, 0, -28), root=(12, 0)),
            pose("tee backswing", "ready", (12, 0, 20), root=(8, 0)),
        ],
        [
            pose("scratch point_up", "push half_squat", (-14, 8, 22), (-22, 0, 0)),
            pose("up hang", "straight kick_back", (4, -12, 0), (-22, 0, 0)),
            pose("follow back", "lunge kick_back", (38, 0, -25), root=(12, 0)),
        ],
        [
            pose("chest table", "ready", (28, 0, 0), (-12, 0, 0), (14, 0)),
            pose("waist chest", "wide_squat", (34, 0, 0), (-18, 0, 0), (18, 0)),
        ],
        [
            pose("low tee", "lunge trail", (45, 0, 0), (-12, 0, 0), (16, 0)),
            pose("tee wide", "side_lunge sideways", (22, 20, 0), root=(10, 12)),
            pose("point_up tee", "lunge trail", (-6, 0, 0), (-22, 0, 0)),
        ],
    ], 1.5),
    "Baseball": Action([
        [
            pose("chest chest", "stand wind_up", (6, 0, 20)),
            pose("cock point_side", "trail stride", (-4, 0, 28), neck=(0, 0, -45)),
            pose("release chest", "trail lunge", (32, 0, -12), root=(12, 0)),
            pose("follow chest", "trail half_squat", (55, 0, -25), (-15, 0, 0), (22, 0)),
            pose("low brace", "kick_back hinge", (25, 0, -25), (-20, 0, 0), (58, 0)),
        ],
        [
            pose("bat_rear bat_lead", "ready", (20, 0, 12), (0, 0, -50), (10, 0)),
            pose("bat_front", "trail stride", (8, 0, -22), (8, 0, 10)),
            pose("bat_lead bat_rear", "push stride", (-4, 0, -38), (0, 0, 30)),
        ],
        [
            pose("table forward", "squat", (22, 0, 0), (-20, 0, 0), (12, 0)),
            pose("low low", "wide_squat", (50, 0, 0), (-25, 0, 0), (24, 0)),
            pose("lap", "ready", (38, 0, 0), (-30, 0, 0), (14, 0)),
            pose("low hang", "side_lunge ready", (48, 12, 0), root=(20, 8)),
        ],
        [
            pose("tee vee", "split half_kneel", (5, 0, 0), root=(-52, 15)),
            pose("vee back", "hurdle_lead kneel", root=(-60, -12)),
        ],
        [pose("hip chest", "apart"), pose("up hang", "stand ease", neck=(-28, 0, 0))],
    ], 1.4),
    "Football": Action([
        [
            pose("swing_back tee", "kick_back stance", (6, 0, 15), root=(-6, -8)),
            pose("back forward", "stride stance", (10, 0, -15)),
            pose("swing_back vee", "split push", (-6, 0, -22), root=(-8, 0)),
        ],
        [pose("tee waist", "run half_squat", (14, 0, 8)), pose("wide hang", "side_lunge stance")],
        [
            pose("up", "arch push", (-20, 0, 0), (-10, 0, 0)),
            pose("scratch", "strike push", (-18, 0, 0)),
            pose("set", "stride trail", (10, 0, 0)),
        ],
        [
            pose("up", "straight run", (0, 12, 0), root=(0, 72)),
            pose("vee", "straight lunge", (5, 8, 0), root=(25, 58)),
            pose("forward", "apart", (12, 0, 0), root=(84, 0)),
        ],
        [
            pose("brace tee", "split folded", root=(-55, 20)),
            pose("vee brace", "hurdle_lead sit", (12, 0, 0), root=(-48, 0)),
        ],
        [pose("wave", "ready"), pose("wide", "ready", (22, 0, 0), root=(14, 0))],
        _SPRINT,
    ], 1.5),
    "Volleyball": Action([
        [
            pose("dig", "wide_squat", (25, 0, 0), (-15, 0, 0), (14, 0)),
            pose("dig", "lunge trail", (22, 0, 0), root=(10, 0)),
            pose("dig", "ready", (14, 0, 0), (-20, 0, 0), (8, 0)),
        ],
        [pose("set", "ease", neck=(-28, 0, 0)), pose("set", "ready", (-4, 0, 0), (-25, 0, 0))],
        [pose("up", "straight", neck=(-12, 0, 0)), pose("vee up", "ease", (4, 0, 0))],
        [
            pose("back", "lunge half_squat", (32, 0, 0), root=(12, 0)),
            pose("cock point_up", "push lunge", (-12, 0, 22), (-15, 0, 0)),
            pose("up swing_front", "ease recover", (5, 0, -8), (-18, 0, 0)),
        ],
        [
            pose("forward", "drive lunge", (12, 0, 0), (-20, 0, 0), (58, 0)),
            pose("dig forward", "straight quad", (-8, 0, 0), (-20, 0, 0), (80, 0)),
        ],
    ], 1.5, lift=0.3),
    "Stretching": Action([
        [
            pose("low", "hinge", (45, 0, 0), (15, 0, 0), (74, 0)),
            pose("low brace", "hinge", (52, 0, 8), (10, 0, 0), (70, 0)),
            pose("dig", "hinge sideways", (45, 0, 20), (10, 0, 0), (70, 0)),
        ],
        [pose("up hip", "apart", (2, -24, 0), (0, -15, 0)), pose("up", "apart", (-24, 0, 0))],
        [
            pose("heel tee", "quad stand", root=(4, 0)),
            pose("hug", "stand tuck", (4, 0, 0)),
            pose("hip", "straight high"),
        ],
        [
            pose("hug", "floor_knee", (34, 0, 0), (15, 0, 0), (-6, 0)),
            pose("hug brace", "floor_knee folded", (26, 0, 0), (5, 0, 10)),
            pose("hug", "squat", (55, 0, 0), (20, 0, 0), (24, 0)),
            pose("low", "squat half_kneel", (48, 0, 0), (20, 0, 0), (12, 0)),
        ],
        [pose("lap", "butterfly", (22, 0, 0)), pose("low", "butterfly", (48, 0, 0), root=(10, 0))],
        [
            pose("low", "split butterfly", (48, 0, 0), root=(12, 0)),
            pose("low", "straddle_sit", (42, 0, 0), root=(16, 0)),
            pose("up low", "straddle_sit", (14, 24, 0), root=(4, 8)),
            pose("low", "pike", (48, 0, 0), root=(18, 0)),
        ],
        [
            pose("tee", "side_lunge sideways"),
            pose("vee low", "sideways", (10, 26, 20), root=(12, 34)),
            pose("up", "lunge trail", (-14, 0, 0), (-15, 0, 0)),
            pose("ring", "straight tree", neck=(-5, 0, 0)),
        ],
        [
            pose("up", "hinge", (4, 0, 0), (10, 0, 0), (130, 0)),
            pose("up", "hinge attitude", (4, 0, 0), (10, 0, 0), (130, 0)),
            pose("forward", "straight", (-38, 0, 0), (-30, 0, 0), (68, 0)),
            pose("up", "folded", (35, 0, 0), (10, 0, 0), (62, 0)),
        ],
        [
            pose("down tee", "straight", root=(0, 66)),
            pose("hip", "straight", (30, 0, 0), (40, 0, 0), (-150, 0)),
            pose("back", "table", (-8, 0, 0), (-15, 0, 0), (-80, 0)),
            pose("heel", "kneel", (-32, 0, 0), (-30, 0, 0)),
        ],
    ], 1.3),
    "Dance and combat": Action([
        [
            pose("guard", "ready strike", (12, 0, 22), root=(6, 0)),
            pose("point_front guard", "stride push", (14, 0, -24), root=(6, 0)),
            pose("guard tee", "ready", (18, 0, 20), root=(8, 0)),
        ],
        [
            pose("guard", "high push", (-10, 0, 0), root=(-14, 0)),
            pose("guard hang", "side_kick stance", (0, -16, 12), root=(4, -36)),
            pose("guard", "wind_up stance", (8, 0, 0)),
        ],
        [
            pose("ring", "straight attitude", (-8, 0, 0)),
            pose("ring tee", "straight tree", (0, -8, 8)),
            pose("vee", "stag arch", (-10, 8, 12)),
        ],
        [
            pose("wave", "ready ease", (6, 16, 14), (0, 12, 20)),
            pose("behind_head tee", "wide_squat", (10, -12, -14)),
            pose("swing_front wave", "strike recover", (-8, 10, -12)),
        ],
        [
            pose("up down", "cat hinge", (15, 10, 10), root=(120, 30)),
            pose("set", "stag sideways", (5, 0, 0), root=(176, 0)),
            pose("down vee", "sideways lunge", (10, 0, 10), root=(-50, 45)),
        ],
    ], 1.6),
}  # fmt: skip
