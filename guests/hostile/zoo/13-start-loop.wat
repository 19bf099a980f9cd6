;; W-13: a loop before anything is asked
;; outcome: load timeout
;; says: it ran longer than
;; cost: load

;;@start
(loop $l (br $l))
