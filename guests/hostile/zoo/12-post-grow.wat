;; W-12: asks for memory after the answer: it gets none, and the answer stands
;; outcome: forward 7
;; cost: quick

;;@post
(drop (memory.grow (i32.const 1000)))
